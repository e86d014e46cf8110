-- Ends the lease of a job. A newer fence means that this worker's lease ran out: nothing is written.
--
-- KEYS 1 lanes by the time of their next due job
--      2 queue of the lane
--      3 jobs
--      4 jobs of the instance that ended in the same way
-- ARGV 1 shift of the clock, ms
--      2 lane
--      3 id
--      4 fence
--      5 done | retry | postpone | ended
--      6 when it is due again, ms
--      7 note
--      8 how long ended jobs are kept, ms
--      9 how many of them
-- -> {now, 1 if it was settled else 0}

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lane = ARGV[2]
local id = ARGV[3]
local state_of = id .. '|s'
local word = ARGV[5]

local value, state = unpack(call('HMGET', KEYS[3], id, state_of))
local never_settled = (string.match(value or '', '^%d+') or '') .. ' 0 0 '
local fence, attempts, note = string.match(state or never_settled, '^(%d+) (%d+) %d+ (.*)$')
if fence ~= ARGV[4] then
  return {now, 0}
end

-- A job that has ended is in no queue any more.
if word == 'done' or word == 'ended' then
  if call('ZREM', KEYS[2], id) == 0 then
    return {now, 0}
  end
else
  if not call('ZSCORE', KEYS[2], id) then
    return {now, 0}
  end
  call('ZADD', KEYS[2], ARGV[6], id)
end

if word == 'done' then
  call('HDEL', KEYS[3], id, state_of)
elseif word == 'postpone' then
  call('HSET', KEYS[3], state_of, fence .. ' ' .. attempts .. ' 0 ' .. note)
else
  call('HSET', KEYS[3], state_of, fence .. ' ' .. (attempts + 1) .. ' 0 ' .. ARGV[7])
end

if word == 'ended' then
  call('ZADD', KEYS[4], now, id)
  local surplus = math.min(call('ZCARD', KEYS[4]) - ARGV[9], 20)
  local old
  if surplus > 0 then
    old = call('ZRANGE', KEYS[4], 0, surplus - 1)
  else
    old = call('ZRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[8], 'LIMIT', 0, 20)
  end
  for _, last in ipairs(old) do
    call('ZREM', KEYS[4], last)
    call('HDEL', KEYS[3], last, last .. '|s')
  end
end

local first = call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if first[2] then
  call('ZADD', KEYS[1], first[2], lane)
else
  call('ZREM', KEYS[1], lane)
end
return {now, 1}
