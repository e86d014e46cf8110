-- One unit of a bucket, by the generic cell rate algorithm (the arithmetic of domain/quota.rs).
-- KEYS 1 bucket   ARGV 1 shift ms  2 interval us  3 burst  4 take (0: only look)
-- -> {now ms, 1, remaining} | {now ms, 0, retry after us}
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1] * 1000
local tat = tonumber(redis.call('GET', KEYS[1]) or 0)
local next = math.max(tat, now) + ARGV[2]
local room = now + ARGV[2] * ARGV[3] - next
local ms = math.floor(now / 1000)
if room < 0 then return {ms, 0, -room} end
if ARGV[4] == '1' then
  redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1000)
end
return {ms, 1, math.floor(room / ARGV[2])}
