-- Lists lanes with due work.
--
-- KEYS 1 lanes by the time of their next due job
--      2 timers
--      3 leases
-- ARGV 1 shift of the clock, ms
--      2 maximum number of lanes
--      3 longest time that a lease can have left, ms
-- -> {now, 1 if a lease has expired else 0, due time of the first timer if it is due else 0, then for each lane: name,
--    due time}

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]

local lapsed = 0
-- ZRANGE, twice: finds expired leases, whose jobs another process must attempt. A lease that ends too late was written
-- by a clock that was ahead. The second call is needed only if there are leases.
local first = call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
if first then
  local last = call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
  if tonumber(first) <= now or tonumber(last) > now + ARGV[3] then
    lapsed = 1
  end
end

-- ZRANGEBYSCORE: whether a timer is due.
local timer = call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
-- ZRANGEBYSCORE: reads only lanes with due work, for any number of lanes.
local lanes = call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
return {now, lapsed, timer[2] or 0, unpack(lanes)}
