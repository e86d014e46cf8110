-- Ends the lease of a job. Writes nothing if the lease is gone, since another worker may hold the job by now.
--
-- KEYS 1 lanes by the time of their next due job
--      2 queue of the lane
--      3 jobs
--      4 leases
--      5 jobs of the instance that ended in the same way
-- ARGV 1 shift of the clock, ms
--      2 lane
--      3 id
--      4 fence
--      5 done | retry | postpone | ended
--      6 when it is due again, ms
--      7 note
--      8 how long ended jobs are kept, ms
--      9 maximum number of ended jobs
--      'again' if the settlement is repeated because its answer was lost: it may have been applied
-- -> {now if the clock was read else 0, 1 if it was settled else 0}

local call = redis.call
local id = ARGV[3]
local fence = ARGV[4]
local word = ARGV[5]
local state_of = id .. '|s'

-- ZREM: whether this worker still holds the job; from now on it does not.
if call('ZREM', KEYS[4], id .. '|' .. fence) == 0 then
  if ARGV[10] ~= 'again' then
    return {0, 0}
  end
  -- Whether this settlement has been applied before. HMGET: a finished job is gone.
  local job, state = unpack(call('HMGET', KEYS[3], id, state_of))
  if not job then
    return {0, word == 'done' and 1 or 0}
  end
  -- Every lease raises the fence and the count of lapsed leases, and a settlement sets that count to 0, so their
  -- difference is the fence of the last lease that was settled.
  local last, lapsed = string.match(state or '', '^(%d+) %d+ (%d+) ')
  return {0, last and last - lapsed == tonumber(fence) and 1 or 0}
end

-- HDEL: a finished job leaves nothing behind.
if word == 'done' then
  call('HDEL', KEYS[3], id, state_of)
  return {0, 1}
end

-- Before the first lease there is no state: nothing has been attempted.
local state = fence ~= '1' and call('HGET', KEYS[3], state_of) or '1 0 0 '
local attempts, note = string.match(state, '^%d+ (%d+) %d+ (.*)$')
if word ~= 'postpone' then
  attempts = attempts + 1
  note = ARGV[7]
end
-- HSET: attempts are counted across restarts, and the operator can read why one failed.
call('HSET', KEYS[3], state_of, table.concat({fence, attempts, 0, note}, ' '))

-- ZADD, twice: the job is due again, and its lane is listed.
if word ~= 'ended' then
  call('ZADD', KEYS[2], ARGV[6], id)
  call('ZADD', KEYS[1], 'LT', ARGV[6], ARGV[2])
  return {0, 1}
end

-- TIME: the retention period starts now.
local time = call('TIME')
local ms = math.floor(time[2] / 1000)
local now = time[1] * 1000 + ms + ARGV[1]
-- ZADD: the ended job is shown, and can be replayed.
call('ZADD', KEYS[5], now, id)
-- ZCARD and the rest: an instance keeps a limited number of ended jobs for a limited time. Not on each call: jobs that
-- are too old are not shown anyway, and up to 20 are removed at once.
if ms % 8 == 0 then
  local surplus = math.min(call('ZCARD', KEYS[5]) - ARGV[9], 20)
  local old
  if surplus > 0 then
    old = call('ZRANGE', KEYS[5], 0, surplus - 1)
  else
    old = call('ZRANGEBYSCORE', KEYS[5], '-inf', now - ARGV[8], 'LIMIT', 0, 20)
  end
  for _, last in ipairs(old) do
    call('ZREM', KEYS[5], last)
    call('HDEL', KEYS[3], last, last .. '|s')
  end
end
return {now, 1}
