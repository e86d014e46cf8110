-- Lanes with due work.
-- KEYS 1 lanes  2 timers   ARGV 1 shift ms  2 most lanes
-- -> {now, due ms of the first timer that is due or 0, lane, due ms, ...}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local timer = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
local lanes = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
return {now, timer[2] or 0, unpack(lanes)}
