-- Takes away a record with its timer and its place in lists, jobs wherever they stand, and of some queues the jobs of
-- some groups. A queue, and the list of lanes, forget by themselves what is not there any more.
--
-- KEYS 1 jobs
--      2 dead jobs of the instance
--      3 its delivered jobs
--      4 timers
--      then queues
--      then, if there is a record: itself, its lists
-- ARGV 1 locator of the record
--      2 start of its id, as a value has it
--      3 number of queues
--      4 number of groups
--      then groups
--      then ids of jobs
-- -> 1

local call = redis.call
local locator = ARGV[1]
local queues = tonumber(ARGV[3])
local group_count = tonumber(ARGV[4])

local function forget(id)
  call('HDEL', KEYS[1], id, id .. '|s')
  call('ZREM', KEYS[2], id)
  call('ZREM', KEYS[3], id)
end

local groups = {}
for i = 5, 4 + group_count do
  groups[ARGV[i]] = true
end
for i = 5 + group_count, #ARGV do
  forget(ARGV[i])
end

local record = 5 + queues
for i = 5, record - 1 do
  for _, id in ipairs(call('ZRANGE', KEYS[i], 0, -1)) do
    if groups[string.match(id, '^([^/]*)/') or ''] then
      forget(id)
      call('ZREM', KEYS[i], id)
    end
  end
end

if KEYS[record] then
  local head = call('GETRANGE', KEYS[record], 8, 13)
  -- Another record may be kept there by now.
  if head == '' or head == ARGV[2] then
    call('DEL', KEYS[record])
    call('ZREM', KEYS[4], locator)
    for i = record + 1, #KEYS do
      call('ZREM', KEYS[i], locator)
    end
  end
end
return 1
