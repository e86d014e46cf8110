-- Removes a record with its timer and its list entries, the given jobs wherever they are, and all jobs of the given
-- groups in the given queues. Queues and the list of lanes drop entries of removed jobs by themselves.
--
-- KEYS 1 jobs
--      2 dead jobs of the instance
--      3 its delivered jobs
--      4 timers
--      5 leases
--      then queues
--      then, if there is a record: itself, its lists
-- ARGV 1 locator of the record
--      2 start of its id, as stored in its value
--      3 number of queues
--      4 number of groups
--      then groups
--      then ids of jobs
-- -> 1

local FIRST_QUEUE = 6

local call = redis.call
local locator = ARGV[1]
local queues = tonumber(ARGV[3])
local group_count = tonumber(ARGV[4])

-- HDEL, ZREM: the job with its state, and its entries among the ended jobs.
local function forget(id)
  call('HDEL', KEYS[1], id, id .. '|s')
  call('ZREM', KEYS[2], id)
  call('ZREM', KEYS[3], id)
end

local groups = {}
for i = 5, 4 + group_count do
  groups[ARGV[i]] = true
end
local ids = {}
for i = 5 + group_count, #ARGV do
  ids[ARGV[i]] = true
  forget(ARGV[i])
end

local function of_a_group(id)
  return groups[string.match(id, '^([^/]*)/') or '']
end

-- ZRANGE, ZREM: a leased job can no longer be settled.
for _, lease in ipairs(call('ZRANGE', KEYS[5], 0, -1)) do
  local id = string.match(lease, '^(.*)|%d+$')
  if id and (ids[id] or of_a_group(id)) then
    forget(id)
    call('ZREM', KEYS[5], lease)
  end
end

-- ZRANGE, ZREM: jobs are found by their group, because their ids are not recorded elsewhere.
local record = FIRST_QUEUE + queues
for i = FIRST_QUEUE, record - 1 do
  for _, id in ipairs(call('ZRANGE', KEYS[i], 0, -1)) do
    if of_a_group(id) then
      forget(id)
      call('ZREM', KEYS[i], id)
    end
  end
end

if KEYS[record] then
  -- GETRANGE: the id of the record.
  local head = call('GETRANGE', KEYS[record], 8, 13)
  -- Another record may be stored there by now.
  if head == '' or head == ARGV[2] then
    -- DEL, ZREM: the record, its timer and its list entries.
    call('DEL', KEYS[record])
    call('ZREM', KEYS[4], locator)
    for i = record + 1, #KEYS do
      call('ZREM', KEYS[i], locator)
    end
  end
end
return 1
