-- Writes one decision, or nothing.
-- KEYS 1 record  2 uuid -> locator  3 answered message  4 due destinations  5 jobs  6 timers
--      then the indexes, then for each job its queue and the hold on its destination
-- ARGV 1 shift ms  2 lease ms  3 message memory ms, 0: answers none  4 expected version, -1: no record
--      5 valid until ms, 0: always  6 uuid  7 locator  8 record bytes, '': unchanged  9 retain until ms
--      10 created ms  11 index memory ms  12 #indexes  13 #jobs, for each: id, destination, due ms (0: now),
--      lease (0/1), head, body; then ids of timers to remove
-- -> {'applied', now, leased...} | {'conflict'|'duplicate'|'collision'|'late', now}
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local function until_of(value) return value and tonumber(value) > now and tonumber(value) end
local answers = ARGV[3] ~= '0' and until_of(redis.call('GET', KEYS[3]))
-- The write makes a following WAIT cover the commit that answered first.
if answers then redis.call('SET', KEYS[3], answers, 'KEEPTTL'); return {'duplicate', now} end
if ARGV[4] ~= '-1' then
  local at = redis.call('HMGET', KEYS[1], 'version', 'id', 'until')
  if not until_of(at[3]) then at = {'0', ARGV[6]} end
  if ARGV[4] == '0' and at[2] ~= ARGV[6] then return {'collision', now} end
  if at[1] ~= ARGV[4] then return {'conflict', now} end
end
if ARGV[5] ~= '0' and now >= tonumber(ARGV[5]) then return {'late', now} end
if ARGV[4] ~= '-1' and ARGV[8] ~= '' then
  local known = {'SET', KEYS[2], ARGV[7], 'PXAT', ARGV[9] - ARGV[1], ARGV[4] == '0' and 'NX' or nil}
  if not redis.call(unpack(known)) then return {'conflict', now} end
  redis.call('HSET', KEYS[1], 'id', ARGV[6], 'version', ARGV[4] + 1, 'until', ARGV[9], 'bytes', ARGV[8])
  redis.call('PEXPIREAT', KEYS[1], ARGV[9] - ARGV[1])
  for i = 7, 6 + ARGV[12] do
    redis.call('ZADD', KEYS[i], ARGV[10], ARGV[7]); redis.call('PEXPIRE', KEYS[i], ARGV[11])
    if now % 32 == 0 then redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - ARGV[11]) end
  end
end
if ARGV[3] ~= '0' then redis.call('SET', KEYS[3], now + ARGV[3], 'PX', ARGV[3]) end
local k, a, out = 7 + ARGV[12], 14, {'applied', now}
for _ = 1, ARGV[13] do
  local held = ARGV[a + 2] == '0' and until_of(redis.call('GET', KEYS[k + 1]))
  local lease = ARGV[a + 3] == '1' and not held
  local due = lease and now + ARGV[2] or math.max(ARGV[a + 2], now, held or 0)
  if redis.call('HSETNX', KEYS[5], ARGV[a] .. '|s', (lease and 1 or 0) .. ' 0 ') == 1 then
    redis.call('HSET', KEYS[5], ARGV[a] .. '|h', now .. ' ' .. ARGV[a + 4], ARGV[a] .. '|b', ARGV[a + 5])
    redis.call('ZADD', KEYS[k], due, ARGV[a]); redis.call('ZADD', KEYS[4], 'LT', due, ARGV[a + 1])
  else lease = false end
  k, a, out[#out + 1] = k + 2, a + 6, lease and 1 or 0
end
for i = a, #ARGV do
  redis.call('ZREM', KEYS[6], ARGV[i]); redis.call('HDEL', KEYS[5], ARGV[i] .. '|s', ARGV[i] .. '|h', ARGV[i] .. '|b')
end
local first = a <= #ARGV and redis.call('ZRANGE', KEYS[6], 0, 0, 'WITHSCORES')
if first then redis.call(first[2] and 'ZADD' or 'ZREM', KEYS[4], unpack(first[2] and {first[2], 'timer'} or {'timer'})) end
return out
