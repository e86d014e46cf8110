-- Destinations with due work.
-- KEYS 1 due destinations  2 timers   ARGV 1 shift ms  2 limit
-- -> {now, 0|1: timers are due, destination, due ms, ...}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local timers = #redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1)
return {now, timers, unpack(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[2]))}
