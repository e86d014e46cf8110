-- Writes one decision, or nothing.
-- KEYS 1 answered message  2 due lanes  3 jobs  4 timers; then for each record: itself, uuid -> locator, its
--      indexes; then for each job its queue; then, unless all jobs are timers, for each job the hold on its lane
-- ARGV 1 shift ms  2 lease ms  3 message memory ms, 0: answers none  4 valid until ms, 0: always  5 index memory ms
--      6 #records  7 #jobs, for each record: expected version, uuid, locator, head without its version and bytes
--      ('': unchanged), retain until ms, created ms, #indexes; for each job: id, lane ('': a timer), due ms (0: now), head and body, of
--      which the first letter asks for a lease (0/1); then for each timer to change: id, due ms (0: remove)
--      A look (PTTL) before a write: it is neither logged nor replicated. What is a number already stays text: Lua is
--      slow in writing one.
--      A version is the time of its write in us by the server's own clock, or one more than the version before.
-- -> {'applied', now, us by the server's own clock, leased...} | {'duplicate', now, us}
--    | {'conflict'|'collision'|'late', now}
local call, t = redis.call, redis.call('TIME')
local us = t[1] * 1000000 + t[2]; local now = math.floor(us / 1000) + ARGV[1]
local function until_of(value) return value and tonumber(value) > now and tonumber(value) end
local answers = ARGV[3] ~= '0' and until_of(call('GET', KEYS[1]))
-- The write makes a following WAIT cover the commit that answered first.
if answers then call('SET', KEYS[1], answers, 'KEEPTTL'); return {'duplicate', now, us} end
local k, a, out = 5, 8, {'applied', now, us}; for _ = 1, ARGV[6] do
  local version, till, id = string.match(call('GETRANGE', KEYS[k], 0, 79), '^(%d+) (%d+) (%x+)\n')
  if not until_of(till) then version, id = '0', ARGV[a + 1] end
  if ARGV[a] == '0' and id ~= ARGV[a + 1] then return {'collision', now} end
  if version ~= ARGV[a] or ARGV[a] == '0' and call('EXISTS', KEYS[k + 1]) == 1 then return {'conflict', now} end
  k, a = k + 2 + ARGV[a + 6], a + 7 end
if ARGV[4] ~= '0' and now >= tonumber(ARGV[4]) then return {'late', now} end
if ARGV[3] ~= '0' then call('SET', KEYS[1], now + ARGV[3], 'PX', ARGV[3]) end
k, a = 5, 8; for _ = 1, ARGV[6] do
  local version, _, locator, bytes, till, created, indexes = unpack(ARGV, a, a + 6)
  if bytes ~= '' then
    local pxat = ARGV[1] == '0' and till or till - ARGV[1]
    call('SET', KEYS[k], string.format('%.0f ', math.max(version + 1, us)) .. bytes, 'PXAT', pxat)
    if version == '0' or call('PTTL', KEYS[k + 1]) < till - now then call('SET', KEYS[k + 1], locator, 'PXAT', pxat) end
    for i = k + 2, k + 1 + indexes do
      call('ZADD', KEYS[i], created, locator)
      if call('PTTL', KEYS[i]) < ARGV[5] / 2 then call('PEXPIRE', KEYS[i], ARGV[5]) end
      if now % 32 == 0 then call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - ARGV[5]) end
    end
  end
  k, a = k + 2 + indexes, a + 7 end
local holds = k + ARGV[7] <= #KEYS and call('MGET', unpack(KEYS, k + ARGV[7])) or {}
for i = 1, ARGV[7] do
  local id, lane, due, job = unpack(ARGV, a, a + 3); local held = due == '0' and until_of(holds[i])
  local lease = held and '0' or string.sub(job, 1, 1); if held then job = '0' .. string.sub(job, 2) end
  if lease == '1' then due = now + ARGV[2] elseif tonumber(due) < now then due = now end
  if call('HSETNX', KEYS[3], id, job) == 1 then
    call('ZADD', KEYS[k], due, id); if lane ~= '' then call('ZADD', KEYS[2], 'LT', held or due, lane) end
  else lease = '0' end; k, a, out[#out + 1] = k + 1, a + 4, lease
end
for i = a, #ARGV, 2 do
  if ARGV[i + 1] ~= '0' then call('ZADD', KEYS[4], 'XX', ARGV[i + 1], ARGV[i])
  else call('ZREM', KEYS[4], ARGV[i]); call('HDEL', KEYS[3], ARGV[i], ARGV[i] .. '|s') end
end
return out
