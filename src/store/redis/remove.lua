-- Takes away a record with its place in lists, jobs wherever they stand, and of some queues the jobs of some groups.
-- A queue, and the list of lanes, forget by themselves what is not there any more.
-- KEYS 1 jobs  2 dead jobs of the instance  3 delivered jobs of the instance  then queues
--      then, if there is a record: itself, uuid -> locator, its indexes
-- ARGV 1 locator of the record  2 #queues  3 #groups  then groups  then ids of jobs
-- -> 1
local function forget(id)
  redis.call('HDEL', KEYS[1], id, id .. '|s')
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
end
local groups = {}
for i = 4, 3 + ARGV[3] do groups[ARGV[i]] = true end
for i = 4 + ARGV[3], #ARGV do forget(ARGV[i]) end
local record = 4 + ARGV[2]
for i = 4, record - 1 do
  for _, id in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
    if groups[string.match(id, '^([^/]*)/') or ''] then
      forget(id)
      redis.call('ZREM', KEYS[i], id)
    end
  end
end
if KEYS[record] then redis.call('DEL', KEYS[record], KEYS[record + 1]) end
for i = record + 2, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
return 1
