-- Lanes with due work.
--
-- KEYS 1 lanes by the time of their next due job
--      2 timers
-- ARGV 1 shift of the clock, ms
--      2 most lanes
-- -> {now, due time of the first timer that is due or 0, then for each lane: name, due time}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local timer = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
local lanes = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
return {now, timer[2] or 0, unpack(lanes)}
