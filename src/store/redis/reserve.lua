-- Claims a key, unless somebody holds it.
-- KEYS 1 reservation   ARGV 1 shift ms  2 claim  3 memory ms
-- -> {now, the claim that holds the key}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local till, holder = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (.*)$')
if till and tonumber(till) > now then return {now, holder} end
redis.call('SET', KEYS[1], string.format('%.0f', now + ARGV[3]) .. ' ' .. ARGV[2], 'PX', ARGV[3])
return {now, ARGV[2]}
