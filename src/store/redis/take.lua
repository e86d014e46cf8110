-- Takes from buckets by the generic cell rate algorithm (domain/quota.rs): of each as many units as are wanted, or as
-- there are in the shortest of them.
-- KEYS 1.. buckets   ARGV 1 shift ms  2 units wanted  then for each bucket: interval us, burst
-- -> {now ms, units taken, then for each bucket: units there were, us until there is another}
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1] * 1000
local tats = redis.call('MGET', unpack(KEYS))
local answer, starts, taken = {math.floor(now / 1000)}, {}, tonumber(ARGV[2])
for i = 1, #KEYS do
  local interval, burst = tonumber(ARGV[2 * i + 1]), ARGV[2 * i + 2]
  starts[i] = math.max(tonumber(tats[i] or 0), now)
  local units = math.max(math.floor((now + interval * burst - starts[i]) / interval), 0)
  answer[2 * i + 1], taken = units, math.min(taken, units)
end
answer[2] = taken
for i, key in ipairs(KEYS) do
  local interval, burst = tonumber(ARGV[2 * i + 1]), ARGV[2 * i + 2]
  local tat = starts[i] + taken * interval
  if taken > 0 then
    redis.call('SET', key, string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1000)
  end
  answer[2 * i + 2] = math.max(tat + interval - now - interval * burst, 0)
end
return answer
