-- Leases due timers. The end of a timer's lease is its fence.
--
-- KEYS 1 what this call has leased
--      then for each set of timers that is asked: 1 the timers
--                                                 2 leases
-- ARGV 1 shift of the clock, ms
--      2 length of a lease, ms
--      3 prefix of a timer's locator among the leases
--      then for each set: maximum number of timers
--      'again' if the call is repeated because its answer was lost: it may have leased timers
-- -> {now, end of the leases, for each set: {due time of the first timer left if it is due else 0, then for each timer:
--    locator, due}}

local FIRST_ARG = 4

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lease = now + ARGV[2]

-- Puts back the timers that an earlier run of this call has leased until `lease_end`.
local function put_back(timers, all_leases, due, lease_end)
  for i = 1, #due, 2 do
    local member = ARGV[3] .. due[i]
    -- ZSCORE, ZREM, ZADD: as settle_timer.lua does with a timer that fires again.
    if tonumber(call('ZSCORE', all_leases, member)) == lease_end then
      call('ZREM', all_leases, member)
      call('ZADD', timers, 'NX', due[i + 1], due[i])
    end
  end
end

-- Returns the timers that are leased now, each with its due time, and the due time of the first one left.
local function lease_due(timers, all_leases, limit)
  -- ZRANGEBYSCORE: the longest due first.
  local due = call('ZRANGEBYSCORE', timers, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  local leased = {}
  local leases = {}
  for i = 1, #due, 2 do
    leased[#leased + 1] = due[i]
    leases[#leases + 1] = lease
    leases[#leases + 1] = ARGV[3] .. due[i]
  end
  -- ZREM, ZADD, once each for all timers: one worker at a time holds a timer, and no longer than its lease.
  if #leased > 0 then
    call('ZREM', timers, unpack(leased))
    call('ZADD', all_leases, unpack(leases))
  end

  -- ZRANGE: whether more timers are due.
  local first = call('ZRANGE', timers, 0, 0, 'WITHSCORES')[2]
  if not first or tonumber(first) > now then
    first = 0
  end
  return due, first
end

local again = ARGV[#ARGV] == 'again'
-- GET: of an earlier run whose answer was lost.
local before = again and call('GET', KEYS[1])
local end_before, due_before = unpack(before and cmsgpack.unpack(before) or {0, {}})

local answer = {now, lease}
local granted = {}
local any = false
for set = 1, #ARGV - FIRST_ARG + (again and 0 or 1) do
  local timers, all_leases = KEYS[2 * set], KEYS[2 * set + 1]
  if due_before[set] then
    put_back(timers, all_leases, due_before[set], end_before)
  end
  local due, first = lease_due(timers, all_leases, ARGV[FIRST_ARG + set - 1])
  granted[set] = due
  any = any or #due > 0
  answer[#answer + 1] = {first, unpack(due)}
end
-- SET: if this answer is lost, the repeated call takes these timers back. No longer than their leases last.
if any then
  call('SET', KEYS[1], cmsgpack.pack({lease, granted}), 'PX', ARGV[2])
elseif again then
  -- DEL: they have been put back.
  call('DEL', KEYS[1])
end
return answer

