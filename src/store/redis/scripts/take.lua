-- Takes units from buckets by the generic cell rate algorithm (domain/quota.rs): the same number from each, as many as
-- are wanted or as the emptiest bucket has. A negative number gives units back.
--
-- KEYS 1.. buckets
-- ARGV 1 shift of the clock, ms
--      2 units wanted
--      then for each bucket: interval, us; burst
-- -> {now ms, units taken, then for each bucket: units before, us until there is another}

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + ARGV[1] * 1000
-- MGET: all buckets, since the emptiest one limits the others.
local stored = redis.call('MGET', unpack(KEYS))
local taken = tonumber(ARGV[2])
local answer = {math.floor(now / 1000)}

local buckets = {}
for i = 1, #KEYS do
  local interval = tonumber(ARGV[2 * i + 1])
  local window = interval * ARGV[2 * i + 2]
  local start = math.max(tonumber(stored[i] or 0), now)
  if start > now + 2 * window then
    -- Written by a clock that was ahead.
    start = now
  end
  start = math.min(start, now + window)
  local units = math.max(math.floor((now + window - start) / interval), 0)
  buckets[i] = {interval = interval, window = window, start = start}
  answer[2 * i + 1] = units
  taken = math.min(taken, units)
end
answer[2] = taken

for i, bucket in ipairs(buckets) do
  local next_start = math.max(bucket.start + taken * bucket.interval, now)
  if taken ~= 0 then
    -- SET: what is taken counts for all replicas. A bucket that has refilled expires.
    redis.call('SET', KEYS[i], string.format('%.0f', next_start), 'PX', math.ceil((next_start - now) / 1000) + 1000)
  end
  answer[2 * i + 2] = math.max(next_start + bucket.interval - now - bucket.window, 0)
end
return answer
