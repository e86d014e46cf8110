-- Ends a lease. A newer fence means that this worker's lease ran out: nothing is written.
-- KEYS 1 due lanes  2 queue  3 jobs  4 jobs of the instance that ended in the same way
-- ARGV 1 shift ms  2 lane, '': timers  3 id  4 fence  5 done|retry|postpone|ended  6 at ms  7 note
--      8 how long ended jobs are kept ms  9 how many
-- -> {now, 0|1}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local id, state = ARGV[3], ARGV[3] .. '|s'
local job = redis.call('HMGET', KEYS[3], id, state)
local unsettled = (string.match(job[1] or '', '^%d+') or '') .. ' 0 0 '
local fence, attempts, note = string.match(job[2] or unsettled, '^(%d+) (%d+) %d+ (.*)$')
if fence ~= ARGV[4] then return {now, 0} end
-- A job that has ended is in no queue any more.
if ARGV[5] == 'done' or ARGV[5] == 'ended' then
  if redis.call('ZREM', KEYS[2], id) == 0 then return {now, 0} end
elseif not redis.call('ZSCORE', KEYS[2], id) then return {now, 0}
else redis.call('ZADD', KEYS[2], ARGV[6], id) end
if ARGV[5] == 'done' then redis.call('HDEL', KEYS[3], id, state)
elseif ARGV[5] == 'postpone' then
  redis.call('HSET', KEYS[3], state, fence .. ' ' .. attempts .. ' 0 ' .. note)
else
  redis.call('HSET', KEYS[3], state, fence .. ' ' .. (attempts + 1) .. ' 0 ' .. ARGV[7])
end
if ARGV[5] == 'ended' then
  redis.call('ZADD', KEYS[4], now, id)
  local over = math.min(redis.call('ZCARD', KEYS[4]) - ARGV[9], 20)
  local old = over > 0 and redis.call('ZRANGE', KEYS[4], 0, over - 1)
    or redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[8], 'LIMIT', 0, 20)
  for _, last in ipairs(old) do redis.call('ZREM', KEYS[4], last); redis.call('HDEL', KEYS[3], last, last .. '|s') end
end
if ARGV[2] == '' then return {now, 1} end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if first[2] then redis.call('ZADD', KEYS[1], first[2], ARGV[2]) else redis.call('ZREM', KEYS[1], ARGV[2]) end
return {now, 1}
