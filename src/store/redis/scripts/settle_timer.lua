-- Ends the lease of a timer. A timer that was set anew meanwhile keeps its new time.
--
-- KEYS 1 timers
--      2 leases
-- ARGV 1 locator
--      2 end of the lease, ms
--      3 when it is due again, ms; 0: never
--      4 prefix of the locator among the leases
-- -> 1

local call = redis.call
local lease = ARGV[4] .. ARGV[1]
-- ZSCORE, ZREM: a worker whose lease has expired must not end the lease of another one.
if tonumber(call('ZSCORE', KEYS[2], lease)) == tonumber(ARGV[2]) then
  call('ZREM', KEYS[2], lease)
  if ARGV[3] ~= '0' then
    -- ZADD: a timer that is not finished fires again.
    call('ZADD', KEYS[1], 'NX', ARGV[3], ARGV[1])
  end
end
return 1
