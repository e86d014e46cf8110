-- Hands out due jobs of one lane. What is leased is in no queue; reclaim.lua puts back what was not settled in time.
--
-- KEYS 1 lanes by the time of their next due job
--      2 queue of the lane
--      3 jobs
--      4 hold on the lane
--      5 leases
-- ARGV 1 shift of the clock, ms
--      2 length of a lease, ms
--      3 lane
--      4 most jobs
--      5 most ids to look at
--      6 longest hold, ms
--      then groups to leave out
-- -> {now, due time of the first job that is left and due or 0, then for each job: id, fence, attempts, lapsed, value}

local FIRST_GROUP = 7

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lane = ARGV[3]
local room = tonumber(ARGV[4])

-- GET: a receiver that fails is left alone by all replicas.
local held = tonumber(call('GET', KEYS[4]) or 0)
-- A hold that ends later than one could was written by a clock that was ahead.
held = held > now and held <= now + ARGV[6] and held

local busy = {}
for i = FIRST_GROUP, #ARGV do
  busy[ARGV[i]] = true
end

local ids = {}
if not held then
  -- ZRANGEBYSCORE: the longest due first.
  ids = call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[5])
end

local answer = {now, 0}
local gone = {}
local leases = {}
for _, id in ipairs(ids) do
  if room == 0 then
    break
  end
  local group = string.match(id, '^([^/]*)/') or ''
  if group == '' or not busy[group] then
    -- HMGET, HSET: the body, and how often it was tried. The fence rises, so that a worker whose lease ran out changes
    -- nothing.
    local value, state = unpack(call('HMGET', KEYS[3], id, id .. '|s'))
    if value then
      local leased_at_commit = string.match(value, '^%d+')
      state = state or leased_at_commit .. ' 0 ' .. leased_at_commit .. ' '
      local fence, attempts, lapsed, note = string.match(state, '^(%d+) (%d+) (%d+) (.*)$')
      fence = fence + 1
      call('HSET', KEYS[3], id .. '|s', table.concat({fence, attempts, lapsed + 1, note}, ' '))
      leases[#leases + 1] = now + ARGV[2]
      leases[#leases + 1] = id .. '|' .. fence
      for _, field in ipairs({id, fence, attempts, lapsed, value}) do
        answer[#answer + 1] = field
      end
      busy[group] = true
      room = room - 1
    end
    gone[#gone + 1] = id
  end
end
-- ZREM, ZADD, one of each for all: one worker at a time has a job, and not longer than its lease.
if #gone > 0 then
  call('ZREM', KEYS[2], unpack(gone))
end
if #leases > 0 then
  call('ZADD', KEYS[5], unpack(leases))
end

-- ZRANGE, and ZADD or ZREM: the lane is listed for as long as anything waits in it, by its first job.
local first = call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if first and not held and tonumber(first) <= now then
  answer[2] = first
end
if first then
  call('ZADD', KEYS[1], math.max(first, held or 0), lane)
else
  call('ZREM', KEYS[1], lane)
end
return answer
