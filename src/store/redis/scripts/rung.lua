-- Ends the lease of a timer, unless it was set anew.
--
-- KEYS 1 timers
-- ARGV 1 locator
--      2 end of the lease, ms
--      3 when it is due again, ms; 0: never
-- -> 1

if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1])) == tonumber(ARGV[2]) then
  if ARGV[3] == '0' then
    redis.call('ZREM', KEYS[1], ARGV[1])
  else
    redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
  end
end
return 1
