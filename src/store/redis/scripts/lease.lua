-- Hands out due jobs of one lane. The end of a lease is the job's score, so a lease that runs out needs no reaper.
--
-- KEYS 1 lanes by the time of their next due job
--      2 queue of the lane
--      3 jobs
--      4 hold on the lane
-- ARGV 1 shift of the clock, ms
--      2 length of a lease, ms
--      3 lane
--      4 most jobs
--      5 most ids to look at
--      then groups to leave out
-- -> {now, due time of the first job that is left and due or 0, then for each job: id, fence, attempts, lapsed, value}

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lane = ARGV[3]
local room = tonumber(ARGV[4])

local held = tonumber(call('GET', KEYS[4]) or 0)
held = held > now and held

local busy = {}
for i = 6, #ARGV do
  busy[ARGV[i]] = true
end

local ids = {}
if not held then
  ids = call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[5])
end

local answer = {now, 0}
for _, id in ipairs(ids) do
  if room == 0 then
    break
  end
  local group = string.match(id, '^([^/]*)/') or ''
  if group == '' or not busy[group] then
    local value, state = unpack(call('HMGET', KEYS[3], id, id .. '|s'))
    if value then
      local leased_at_commit = string.match(value, '^%d+')
      state = state or leased_at_commit .. ' 0 ' .. leased_at_commit .. ' '
      local fence, attempts, lapsed, note = string.match(state, '^(%d+) (%d+) (%d+) (.*)$')
      call('HSET', KEYS[3], id .. '|s', table.concat({fence + 1, attempts, lapsed + 1, note}, ' '))
      call('ZADD', KEYS[2], now + ARGV[2], id)
      for _, field in ipairs({id, fence + 1, attempts, lapsed, value}) do
        answer[#answer + 1] = field
      end
      busy[group] = true
      room = room - 1
    else
      call('ZREM', KEYS[2], id)
    end
  end
end

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
