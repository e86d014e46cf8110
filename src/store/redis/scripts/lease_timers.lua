-- Leases due timers. The end of a timer's lease is its fence.
--
-- KEYS for each set of timers that is asked: 1 the timers
--                                            2 leases
-- ARGV 1 shift of the clock, ms
--      2 length of a lease, ms
--      3 prefix of a timer's locator among the leases
--      then for each set: maximum number of timers
-- -> {now, end of the leases, for each set: {due time of the first timer left if it is due else 0, then for each timer:
--    locator, due}}

local FIRST_ARG = 4

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local lease = now + ARGV[2]

local function ring(timers, all_leases, limit)
  -- ZRANGEBYSCORE: the longest due first.
  local due = call('ZRANGEBYSCORE', timers, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  local rung = {}
  local leases = {}
  for i = 1, #due, 2 do
    rung[#rung + 1] = due[i]
    leases[#leases + 1] = lease
    leases[#leases + 1] = ARGV[3] .. due[i]
  end
  -- ZREM, ZADD, once each for all timers: one worker at a time holds a timer, and no longer than its lease.
  if #rung > 0 then
    call('ZREM', timers, unpack(rung))
    call('ZADD', all_leases, unpack(leases))
  end

  -- ZRANGE: whether more timers are due.
  local first = call('ZRANGE', timers, 0, 0, 'WITHSCORES')[2]
  if not first or tonumber(first) > now then
    first = 0
  end
  return {first, unpack(due)}
end

local answer = {now, lease}
for i = FIRST_ARG, #ARGV do
  local key = 2 * (i - FIRST_ARG) + 1
  answer[#answer + 1] = ring(KEYS[key], KEYS[key + 1], ARGV[i])
end
return answer
