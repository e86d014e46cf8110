-- Queues a job that has ended again. Its fence keeps rising, its attempts start anew.
-- KEYS 1 due lanes  2 queue  3 jobs  4 dead jobs of the instance  5 its delivered jobs
-- ARGV 1 shift ms  2 lane, '': timers  3 id  4 dead memory ms  5 delivered memory ms
-- -> {now, 0|1}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local ended, memory = redis.call('ZSCORE', KEYS[4], ARGV[3]), ARGV[4]
if not ended then ended, memory = redis.call('ZSCORE', KEYS[5], ARGV[3]), ARGV[5] end
if not ended or ended + memory <= now then return {now, 0} end
redis.call('ZREM', KEYS[4], ARGV[3]); redis.call('ZREM', KEYS[5], ARGV[3])
local state = redis.call('HGET', KEYS[3], ARGV[3] .. '|s')
if not state then return {now, 0} end
redis.call('HSET', KEYS[3], ARGV[3] .. '|s', string.match(state, '^%d+') .. ' 0 0 ')
redis.call('ZADD', KEYS[2], now, ARGV[3])
if ARGV[2] ~= '' then redis.call('ZADD', KEYS[1], 'LT', now, ARGV[2]) end
return {now, 1}
