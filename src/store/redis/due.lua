-- Destinations with due work.   KEYS 1 due destinations   ARGV 1 shift ms  2 limit
-- -> {now, destination, ...}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
return {now, unpack(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2]))}
