-- Writes one decision, or nothing.
-- KEYS 1 answered message  2 due destinations  3 jobs  4 timers
--      then for each record: itself, uuid -> locator, its indexes; then for each job: its queue, the hold on its destination
-- ARGV 1 shift ms  2 lease ms  3 message memory ms, 0: answers none  4 valid until ms, 0: always  5 index memory ms
--      6 #records  7 #jobs, for each record: expected version, uuid, locator, bytes ('': unchanged), retain until ms,
--      created ms, #indexes; for each job: id, destination, due ms (0: now), lease (0/1), head, body; then ids of timers
--      to remove
-- -> {'applied', now, leased...} | {'conflict'|'duplicate'|'collision'|'late', now}
local call, t = redis.call, redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local function until_of(value) return value and tonumber(value) > now and tonumber(value) end
local answers = ARGV[3] ~= '0' and until_of(call('GET', KEYS[1]))
-- The write makes a following WAIT cover the commit that answered first.
if answers then call('SET', KEYS[1], answers, 'KEEPTTL'); return {'duplicate', now} end
local k, a, out = 5, 8, {'applied', now}
for _ = 1, ARGV[6] do
  local at = call('HMGET', KEYS[k], 'version', 'id', 'until'); if not until_of(at[3]) then at = {'0', ARGV[a + 1]} end
  if ARGV[a] == '0' and at[2] ~= ARGV[a + 1] then return {'collision', now} end
  if at[1] ~= ARGV[a] or ARGV[a] == '0' and call('EXISTS', KEYS[k + 1]) == 1 then return {'conflict', now} end
  k, a = k + 2 + ARGV[a + 6], a + 7
end
if ARGV[4] ~= '0' and now >= tonumber(ARGV[4]) then return {'late', now} end
if ARGV[3] ~= '0' then call('SET', KEYS[1], now + ARGV[3], 'PX', ARGV[3]) end
k, a = 5, 8
for _ = 1, ARGV[6] do
  local version, id, locator, bytes, till, created, indexes = unpack(ARGV, a, a + 6)
  if bytes ~= '' then
    call('SET', KEYS[k + 1], locator, 'PXAT', till - ARGV[1])
    call('HSET', KEYS[k], 'id', id, 'version', version + 1, 'until', till, 'bytes', bytes); call('PEXPIREAT', KEYS[k], till - ARGV[1])
    for i = k + 2, k + 1 + indexes do
      call('ZADD', KEYS[i], created, locator); call('PEXPIRE', KEYS[i], ARGV[5])
      if now % 32 == 0 then call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - ARGV[5]) end
    end
  end
  k, a = k + 2 + indexes, a + 7
end
for _ = 1, ARGV[7] do
  local held = ARGV[a + 2] == '0' and until_of(call('GET', KEYS[k + 1])); local lease = ARGV[a + 3] == '1' and not held
  local due = lease and now + ARGV[2] or math.max(ARGV[a + 2], now, held or 0)
  lease = call('HSETNX', KEYS[3], ARGV[a] .. '|s', (lease and 1 or 0) .. ' 0 ') == 1 and (lease and 1 or 0)
  if lease then
    call('HSET', KEYS[3], ARGV[a] .. '|h', now .. ' ' .. ARGV[a + 4], ARGV[a] .. '|b', ARGV[a + 5])
    call('ZADD', KEYS[k], due, ARGV[a]); call('ZADD', KEYS[2], 'LT', due, ARGV[a + 1])
  end
  k, a, out[#out + 1] = k + 2, a + 6, lease or 0
end
for i = a, #ARGV do call('ZREM', KEYS[4], ARGV[i]); call('HDEL', KEYS[3], ARGV[i] .. '|s', ARGV[i] .. '|h', ARGV[i] .. '|b') end
local first = a <= #ARGV and call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if first then call(first[2] and 'ZADD' or 'ZREM', KEYS[2], unpack(first[2] and {first[2], 'timer'} or {'timer'})) end
return out
