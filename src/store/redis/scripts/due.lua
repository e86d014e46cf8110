-- Lanes with due work.
--
-- KEYS 1 lanes by the time of their next due job
--      2 timers
--      3 leases
-- ARGV 1 shift of the clock, ms
--      2 most lanes
--      3 what no lease can have left, ms
-- -> {now, 1 if a lease has run out else 0, due time of the first timer that is due or 0, then for each lane: name,
--    due time}

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]

local lapsed = 0
-- ZRANGE, twice: the work of a process that died goes on elsewhere. The second one only where anything is in hand.
local first = call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
if first then
  local last = call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
  if tonumber(first) <= now or tonumber(last) > now + ARGV[3] then
    lapsed = 1
  end
end

-- ZRANGEBYSCORE: timers come on time.
local timer = call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
-- ZRANGEBYSCORE: of very many queues only those with due work are looked at.
local lanes = call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
return {now, lapsed, timer[2] or 0, unpack(lanes)}
