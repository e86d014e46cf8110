-- Hands out due timers. A timer in hand is a lease, whose end is its fence.
--
-- KEYS 1 timers
--      2 leases
-- ARGV 1 shift of the clock, ms
--      2 length of a lease, ms
--      3 most timers
--      4 what stands before a timer's locator among the leases
-- -> {now, due time of the first timer that is left and due or 0, end of the lease, then for each timer: locator, due}

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lease = now + ARGV[2]

-- ZRANGEBYSCORE: the longest due first.
local due = call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local rung = {}
local leases = {}
for i = 1, #due, 2 do
  rung[#rung + 1] = due[i]
  leases[#leases + 1] = lease
  leases[#leases + 1] = ARGV[4] .. due[i]
end
-- ZREM, ZADD, one of each for all: a worker at a time has a timer, and not longer than its lease.
if #rung > 0 then
  call('ZREM', KEYS[1], unpack(rung))
  call('ZADD', KEYS[2], unpack(leases))
end

-- ZRANGE: whether to come back at once.
local first = call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if not first or tonumber(first) > now then
  first = 0
end
return {now, first, lease, unpack(due)}
