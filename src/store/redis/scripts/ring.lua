-- Hands out due timers. As with jobs the end of a lease is the score; it is the fence, too.
--
-- KEYS 1 timers
-- ARGV 1 shift of the clock, ms
--      2 length of a lease, ms
--      3 most timers
-- -> {now, due time of the first timer that is left and due or 0, end of the lease, then for each timer: locator, due}

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lease = now + ARGV[2]

local due = call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #due, 2 do
  call('ZADD', KEYS[1], lease, due[i])
end

local first = call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if not first or tonumber(first) > now then
  first = 0
end
return {now, first, lease, unpack(due)}
