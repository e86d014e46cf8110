-- Commits one decision, or writes nothing.
--
-- KEYS the message that the decision answers, under each of its digests; none if it answers none
--      lanes by the time of their next due job
--      jobs
--      timers
--      leases
--      for each record: itself, then its lists
--      for each job: its queue
--      if one of the jobs is to start at once: for each job the hold on its lane
-- ARGV 1 shift of the clock, ms
--      2 length of a lease, ms
--      3 number of keys of the message
--      4 how long a message is remembered, ms
--      5 valid until, ms; 0: always
--      6 longest hold, ms
--      7 number of records
--      8 number of jobs
--      for each record: expected version and start of the id (the head of the stored value); locator; value without
--        version ('': unchanged); end, ms; due time of timer, ms ('': unchanged); time of creation, ms; number of lists
--      for each job: id; lane; due time, ms (0: at once); value, whose first character asks for a lease (0 or 1)
--      'again' if the commit is repeated because its answer was lost: it may have been applied
-- -> {'applied', now, us, for each job 1 if it is leased else 0}
--    or {'duplicate', now, us}
--    or {'conflict' | 'collision' | 'late', now}
--    or {'lost', now}: the commit may have been applied before, and a record has been written since
--
-- us is the time of the server's own clock. A version is the time of its write by that clock in us, or the previous
-- version plus one if that is later.
--
-- A record's value begins with its version (8 bytes), the first 6 bytes of its id, and its end in ms (6 bytes). Numbers
-- that arrive as text are passed on as text, because Lua is slow in formatting them.

local NEW = string.rep('\0', 8)
local RECORD_ARGS = 7
local JOB_ARGS = 4
local FIRST_ARG = 9

local call = redis.call
-- A local is read faster than a global.
local KEYS, ARGV = KEYS, ARGV
-- TIME: all replicas decide by the same clock, the server's.
local time = call('TIME')
local shift = ARGV[1]
local us = time[1] * 1000000 + time[2]
local now = math.floor(us / 1000) + shift
local messages = tonumber(ARGV[3])
local message_memory = ARGV[4]
local valid_until = ARGV[5]
local longest_hold = tonumber(ARGV[6])
local records = tonumber(ARGV[7])
local jobs = tonumber(ARGV[8])
local LANES = messages + 1
local JOBS = messages + 2
local TIMERS = messages + 3
local LEASES = messages + 4
local FIRST_KEY = messages + 5

local again = ARGV[#ARGV] == 'again'
local answer

-- The function is made only when it is needed, which saves time.
if again then
  -- The earlier answer, if this commit has been applied before. Encrypted bytes never repeat, so finding the same
  -- bytes proves that this commit wrote them.
  local function answer_again()
    local key = FIRST_KEY
    local arg = FIRST_ARG
    local found
    for _ = 1, records do
      local value = ARGV[arg + 2]
      if value ~= '' then
        -- GET, SET: a write, so that a following WAIT covers the earlier commit.
        found = call('GET', KEYS[key])
        if not found or string.sub(found, 9) ~= value then
          return nil
        end
        call('SET', KEYS[key], found, 'KEEPTTL')
      end
      key = key + 1 + ARGV[arg + 6]
      arg = arg + RECORD_ARGS
    end
    if not found then
      -- HGET, HSET: the same for a commit that writes no record.
      if jobs == 0 or call('HGET', KEYS[JOBS], ARGV[arg]) ~= ARGV[arg + 3] then
        return nil
      end
      call('HSET', KEYS[JOBS], ARGV[arg], ARGV[arg + 3])
    end
    local answer = {'applied', now, us}
    for i = 1, jobs do
      local id = ARGV[arg]
      local value = ARGV[arg + 3]
      -- HGET, ZSCORE: a job that was leased then, as its value says, is still held by the caller if its lease exists.
      local leased = string.sub(value, 1, 1) == '1' and call('HGET', KEYS[JOBS], id) == value
      answer[i + 3] = leased and call('ZSCORE', KEYS[LEASES], id .. '|1') and '1' or '0'
      arg = arg + JOB_ARGS
    end
    return answer
  end

  answer = answer_again()
  if answer then
    return answer
  end
end

local made = {}

-- Undoes what has been written so far.
local function refuse(word, us)
  for written in pairs(made) do
    call('DEL', KEYS[written])
  end
  return {word, now, us}
end

local till = now + message_memory
for i = 1, messages do
  -- SET NX GET: a message is answered once, however often its gateway delivers it.
  local remembered = call('SET', KEYS[i], till, 'NX', 'GET', 'PX', message_memory)
  if remembered and tonumber(remembered) > now then
    -- A write, so that a following WAIT covers the commit that answered first.
    call('SET', KEYS[i], remembered, 'KEEPTTL')
    return refuse('duplicate', us)
  elseif remembered then
    call('SET', KEYS[i], till, 'PX', message_memory)
  end
  made[i] = true
end

-- Writes a value. PXAT: a record that no timer removes in time expires by itself.
local function set(key, version, value, till, ...)
  local expires = shift == '0' and till or till - shift
  return call('SET', KEYS[key], struct.pack('>I8', version) .. value, 'PXAT', expires, ...)
end

local key = FIRST_KEY
local arg = FIRST_ARG
for _ = 1, records do
  local expected, _, value, till = unpack(ARGV, arg, arg + 3)
  local creates = string.sub(expected, 1, 8) == NEW
  -- SET NX: a new record takes a free key, which need not be read.
  if creates and value ~= '' and set(key, us, value, till, 'NX') then
    made[key] = true
  else
    -- GETRANGE: of several decisions on one version of a record, one is applied. Only the head is read, since the value
    -- may be long.
    local head = call('GETRANGE', KEYS[key], 0, 19)
    local exists = head ~= '' and struct.unpack('>I6', head, 15) > now
    if creates and exists then
      local same_id = string.sub(head, 9, 14) == string.sub(expected, 9, 14)
      return refuse(same_id and (again and 'lost' or 'conflict') or 'collision')
    end
    if not creates and not (exists and string.sub(head, 1, 14) == expected) then
      return refuse(again and 'lost' or 'conflict')
    end
  end
  key = key + 1 + ARGV[arg + 6]
  arg = arg + RECORD_ARGS
end

if valid_until ~= '0' and now >= tonumber(valid_until) then
  return refuse('late')
end

key = FIRST_KEY
arg = FIRST_ARG
for _ = 1, records do
  local expected, locator, value, till, timer, created, lists = unpack(ARGV, arg, arg + RECORD_ARGS - 1)
  if value ~= '' and not made[key] then
    -- SET: the decision itself.
    set(key, math.max(struct.unpack('>I8', expected) + 1, us), value, till)
  end
  if timer ~= '' then
    -- ZADD: so that the record ends, is erased and is removed on time.
    call('ZADD', KEYS[TIMERS], timer, locator)
  end
  for list = key + 1, key + lists do
    -- ZADD: the record can be found by its instance, its chat and its client's reference.
    call('ZADD', KEYS[list], created, locator)
    -- PTTL, PEXPIRE: a list expires soon after the last of its records. A read is neither logged nor replicated, and
    -- with an eighth to spare the expiry is not written each time.
    local left = till - now
    if call('PTTL', KEYS[list]) < left then
      call('PEXPIRE', KEYS[list], math.floor(left * 9 / 8))
    end
    -- ZREMRANGEBYSCORE: removes the entries of records that expired by themselves. Now and then is enough.
    if now % 8 == 0 then
      call('ZREMRANGEBYSCORE', KEYS[list], '-inf', now - 2 * (till - created))
    end
  end
  key = key + 1 + lists
  arg = arg + RECORD_ARGS
end

answer = {'applied', now, us}
local leases = {}
local holds = {}
if key + jobs <= #KEYS then
  -- MGET: all replicas respect the hold on a receiver that fails.
  holds = call('MGET', unpack(KEYS, key + jobs))
end
for i = 1, jobs do
  local id, lane, due, value = unpack(ARGV, arg, arg + JOB_ARGS - 1)
  local hold = due == '0' and tonumber(holds[i])
  -- A hold that ends later than the longest possible one was written by a clock that was ahead.
  local held = hold and hold > now and hold <= now + longest_hold and hold
  local lease = string.sub(value, 1, 1)
  if held then
    lease = '0'
    value = '0' .. string.sub(value, 2)
  end
  -- HSETNX: the same effect is never queued twice.
  if call('HSETNX', KEYS[JOBS], id, value) == 0 then
    lease = '0'
  elseif lease == '1' then
    leases[#leases + 1] = now + ARGV[2]
    leases[#leases + 1] = id .. '|1'
  else
    if tonumber(due) < now then
      due = now
    end
    -- ZADD, twice: queues the job, and lists its lane, so that due lanes are found without reading their queues.
    call('ZADD', KEYS[key], due, id)
    call('ZADD', KEYS[LANES], 'LT', held or due, lane)
  end
  answer[#answer + 1] = lease
  key = key + 1
  arg = arg + JOB_ARGS
end
if #leases > 0 then
  -- ZADD, once for all jobs: if this process does not finish a job, another one does.
  call('ZADD', KEYS[LEASES], unpack(leases))
end
return answer
