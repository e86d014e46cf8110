-- Puts back a job or a timer whose lease has expired.
--
-- KEYS 1 leases
--      2 queue of the lane, or timers
--      3 lanes by the time of their next due job
--      4 jobs
-- ARGV 1 lease
--      2 id of the job, or locator of the timer; '': the job is gone
--      3 due time, ms
--      4 lane; '' for a timer
--      5 fence of the lease; '' for a timer
-- -> 1 if the lease was still there else 0

local call = redis.call
-- ZREM: of several callers that find the expired lease, one puts it back.
if call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if ARGV[2] ~= '' then
  -- A timer that was set anew keeps its new time.
  call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[2])
end
if ARGV[4] ~= '' then
  -- ZADD: lists the lane.
  call('ZADD', KEYS[3], 'LT', ARGV[3], ARGV[4])
  -- HSETNX: counts the expired lease, and makes the next fence higher. The first lease has written no state itself.
  if ARGV[5] == '1' then
    call('HSETNX', KEYS[4], ARGV[2] .. '|s', '1 0 1 ')
  end
end
return 1
