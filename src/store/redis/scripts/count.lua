-- Adds to the counters of one hour, and keeps them from then on for their retention.
--
-- KEYS 1 counters of an instance in one hour
-- ARGV 1 how long they are kept, ms
--      then for each counter: name; what to add
-- -> number of counters

for i = 2, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return (#ARGV - 1) / 2
