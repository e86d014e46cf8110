-- Leases due jobs. A leased job is in no queue; reclaim.lua puts back a job that was not settled in time.
--
-- KEYS 1 what this call has leased
--      then for each queue that is asked: 1 lanes by the time of their next due job
--                                         2 the queue
--                                         3 jobs
--                                         4 hold on the lane
--                                         5 leases
-- ARGV 1 shift of the clock, ms
--      2 length of a lease, ms
--      3 longest hold, ms
--      4 maximum number of ids to look at in a queue beyond those requested
--      then for each lane: its name; number of groups to leave out; groups; number of queues; for each: job limit
--      'again' if the call is repeated because its answer was lost: it may have leased jobs
-- -> {now, for each queue: {due time of the first job left if it is due else 0, then for each job: id, fence, attempts,
--    lapsed, value}}

local QUEUE_KEYS = 5
local FIRST_KEY = 2
local FIRST_ARG = 5

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lease_end = now + ARGV[2]
local longest_hold = tonumber(ARGV[3])
local most_passed = tonumber(ARGV[4])
local again = ARGV[#ARGV] == 'again'
local last_arg = again and #ARGV - 1 or #ARGV

-- Selects the jobs that can be leased: at most one of each group, and none of a busy group.
local function free_of_groups(ids, busy)
  local free = {}
  for _, id in ipairs(ids) do
    local slash = string.find(id, '/', 1, true)
    local group = slash and slash > 1 and string.sub(id, 1, slash - 1)
    if not group or not busy[group] then
      free[#free + 1] = id
      if group then
        busy[group] = true
      end
    end
  end
  return free
end

-- Leases the jobs in `ids`, and adds them to the answer and to the leases.
local function lease(jobs, ids, answer, leases)
  local fields = {}
  for i, id in ipairs(ids) do
    fields[2 * i - 1] = id
    fields[2 * i] = id .. '|s'
  end
  -- HMGET, once for all jobs: the body and the state of each.
  local values = call('HMGET', jobs, unpack(fields))
  for i, id in ipairs(ids) do
    local value, state = values[2 * i - 1], values[2 * i]
    if value then
      local fence, attempts, lapsed = '1', '0', '0'
      if state or string.sub(value, 1, 1) == '1' then
        local note
        fence, attempts, lapsed, note = string.match(state or '1 0 1 ', '^(%d+) (%d+) (%d+) (.*)$')
        fence = fence + 1
        -- HSET: the fence rises, so that a worker whose lease has expired can change nothing. The first lease has fence
        -- 1 and writes nothing; reclaim.lua does, if that lease expires.
        call('HSET', jobs, id .. '|s', table.concat({fence, attempts, lapsed + 1, note}, ' '))
      end
      leases[#leases + 1] = lease_end
      leases[#leases + 1] = id .. '|' .. fence
      local next = #answer
      answer[next + 1], answer[next + 2], answer[next + 3] = id, fence, attempts
      answer[next + 4], answer[next + 5] = lapsed, value
    end
  end
end

-- Puts back the jobs that an earlier run of this call has leased from a queue.
local function put_back(queue, jobs, all_leases, leases)
  for i = 2, #leases, 2 do
    -- ZREM: unless the lease has expired since.
    if call('ZREM', all_leases, leases[i]) == 1 then
      local id, fence = string.match(leases[i], '^(.*)|(%d+)$')
      -- HMGET, HSET, ZADD: as settle.lua postpones a job.
      local value, state = unpack(call('HMGET', jobs, id, id .. '|s'))
      if value then
        local attempts, note = string.match(state or '1 0 0 ', '^%d+ (%d+) %d+ (.*)$')
        call('HSET', jobs, id .. '|s', table.concat({fence, attempts, 0, note}, ' '))
        call('ZADD', queue, string.match(value, '^%d (%d+)'), id)
      end
    end
  end
end

-- Returns the answer for a queue, and the leases as they are stored.
local function lease_of_queue(key, lane, limit, busy, before)
  local lanes, queue, jobs, hold, all_leases = unpack(KEYS, key, key + QUEUE_KEYS - 1)
  if before then
    put_back(queue, jobs, all_leases, before)
  end
  -- GET: all replicas respect the hold on a receiver that fails.
  local held = tonumber(call('GET', hold) or 0)
  -- A hold that ends later than the longest possible one was written by a clock that was ahead.
  held = held > now and held <= now + longest_hold and held

  local answer = {0}
  local leases = {}
  local gone = {}
  local passed = 0
  local room = held and 0 or limit
  while room > 0 do
    -- ZRANGEBYSCORE: the longest due first; further ids are read only if groups were left out.
    local ids = call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', passed, room)
    local free = free_of_groups(ids, busy)
    if #free > 0 then
      lease(jobs, free, answer, leases)
      for _, id in ipairs(free) do
        gone[#gone + 1] = id
      end
    end
    passed = passed + #ids
    local last = #ids < room or passed >= limit + most_passed
    room = last and 0 or limit - #leases / 2
  end
  -- ZREM, ZADD, once each for all jobs: one worker at a time holds a job, and no longer than its lease.
  if #gone > 0 then
    call('ZREM', queue, unpack(gone))
  end
  if #leases > 0 then
    call('ZADD', all_leases, unpack(leases))
  end

  -- ZRANGE, then ZADD or ZREM: the lane is listed as long as a job waits in it, at the due time of its first job.
  local first = call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2]
  if first and not held and tonumber(first) <= now then
    answer[1] = first
  end
  if first then
    call('ZADD', lanes, math.max(first, held or 0), lane)
  else
    call('ZREM', lanes, lane)
  end
  return answer, leases
end

-- GET: of an earlier run whose answer was lost.
local before = again and call('GET', KEYS[1])
before = before and cmsgpack.unpack(before) or {}

local answer = {now}
local granted = {}
local any = false
local key = FIRST_KEY
local arg = FIRST_ARG
while arg <= last_arg do
  local lane = ARGV[arg]
  local first_group = arg + 2
  local queues = first_group + ARGV[arg + 1]
  for i = queues + 1, queues + ARGV[queues] do
    -- Per queue, not per lane: the caller keeps jobs of one group in their order.
    local busy = {}
    for group = first_group, queues - 1 do
      busy[ARGV[group]] = true
    end
    local place = #granted + 1
    answer[place + 1], granted[place] = lease_of_queue(key, lane, tonumber(ARGV[i]), busy, before[place])
    any = any or #granted[place] > 0
    key = key + QUEUE_KEYS
  end
  arg = queues + 1 + ARGV[queues]
end
-- SET: if this answer is lost, the repeated call takes these jobs back. No longer than their leases last.
if any then
  call('SET', KEYS[1], cmsgpack.pack(granted), 'PX', ARGV[2])
elseif again then
  -- DEL: they have been put back.
  call('DEL', KEYS[1])
end
return answer
