-- Writes an empty value, so that a following WAIT covers all writes before it.
-- KEYS 1 barrier   ARGV 1 how long it is kept, ms
-- -> {'barrier', now, us by the server's own clock}
-- TIME: the time up to which writes are confirmed.
local t = redis.call('TIME')
-- SET: WAIT covers writes only.
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return {'barrier', t[1] * 1000 + math.floor(t[2] / 1000), t[1] * 1000000 + t[2]}
