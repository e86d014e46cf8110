-- Ends the lease of a timer. One that was set anew meanwhile keeps its new time.
--
-- KEYS 1 timers
--      2 leases
-- ARGV 1 locator
--      2 end of the lease, ms
--      3 when it is due again, ms; 0: never
--      4 what stands before the locator among the leases
-- -> 1

local call = redis.call
local lease = ARGV[4] .. ARGV[1]
-- ZSCORE, ZREM: a worker whose lease ran out ends nobody else's.
if tonumber(call('ZSCORE', KEYS[2], lease)) == tonumber(ARGV[2]) then
  call('ZREM', KEYS[2], lease)
  if ARGV[3] ~= '0' then
    -- ZADD: what is not finished comes again.
    call('ZADD', KEYS[1], 'NX', ARGV[3], ARGV[1])
  end
end
return 1
