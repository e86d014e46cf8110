-- Queues an ended job again. Its fence keeps rising; its attempts start from zero.
--
-- KEYS 1 lanes by the time of their next due job
--      2 queue of the lane
--      3 jobs
--      4 dead jobs of the instance
--      5 its delivered jobs
-- ARGV 1 shift of the clock, ms
--      2 lane
--      3 id
--      4 how long dead jobs are kept, ms
--      5 how long delivered jobs are kept, ms
-- -> {now, 1 if it was queued else 0}

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local id = ARGV[3]
local state_of = id .. '|s'

-- ZSCORE: only a job that has ended, and is still kept, is queued again.
local ended = call('ZSCORE', KEYS[4], id)
local memory = ARGV[4]
if not ended then
  ended = call('ZSCORE', KEYS[5], id)
  memory = ARGV[5]
end
if not ended or ended + memory <= now then
  return {now, 0}
end
-- ZREM: it no longer counts as ended.
call('ZREM', KEYS[4], id)
call('ZREM', KEYS[5], id)

-- HGET, HSET: its fence keeps rising.
local state = call('HGET', KEYS[3], state_of)
if not state then
  return {now, 0}
end
local fence = string.match(state, '^%d+')
call('HSET', KEYS[3], state_of, fence .. ' 0 0 ')
-- ZADD, twice: the job is due, and its lane is listed.
call('ZADD', KEYS[2], now, id)
call('ZADD', KEYS[1], 'LT', now, ARGV[2])
return {now, 1}
