-- Writes something that means nothing, for a WAIT to stand behind.
-- KEYS 1 barrier   ARGV 1 memory ms
-- -> {'barrier', now, us by the server's own clock}
-- TIME: the answer says up to when writes are confirmed.
local t = redis.call('TIME')
-- SET: WAIT confirms writes only.
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return {'barrier', t[1] * 1000 + math.floor(t[2] / 1000), t[1] * 1000000 + t[2]}
