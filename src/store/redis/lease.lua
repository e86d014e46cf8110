-- Hands out due jobs of one destination. The lease is the score, so a lease that runs out needs no reaper.
-- KEYS 1 due destinations  2 queue  3 jobs  4 hold
-- ARGV 1 shift ms  2 lease ms  3 destination, '': timers  4 limit
-- -> {now, id, fence, attempts, job, ...}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local out, held = {now}, tonumber(redis.call('GET', KEYS[4]) or 0)
held = held > now and held
if not held then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[4])) do
    local job = redis.call('HMGET', KEYS[3], id, id .. '|s')
    if job[1] then
      local state = job[2] or string.match(job[1], '^%d+') .. ' 0 '
      local fence, attempts, note = string.match(state, '^(%d+) (%d+) (.*)$')
      redis.call('HSET', KEYS[3], id .. '|s', (fence + 1) .. ' ' .. attempts .. ' ' .. note)
      redis.call('ZADD', KEYS[2], now + ARGV[2], id)
      for _, value in ipairs({id, fence + 1, attempts, job[1]}) do out[#out + 1] = value end
    else
      redis.call('ZREM', KEYS[2], id)
    end
  end
end
if ARGV[3] == '' then return out end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if first[2] then redis.call('ZADD', KEYS[1], math.max(first[2], held or 0), ARGV[3])
else redis.call('ZREM', KEYS[1], ARGV[3]) end
return out
