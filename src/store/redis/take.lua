-- One unit of each bucket, or of none where one is short, by the generic cell rate algorithm (domain/quota.rs).
-- KEYS 1.. buckets   ARGV 1 shift ms  2 take (0: only look)  then for each bucket: interval us, burst
-- -> {now ms, then for each bucket: 1, remaining | 0, retry after us}
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2] + ARGV[1] * 1000
local tats = redis.call('MGET', unpack(KEYS))
local answer, nexts, short = {math.floor(now / 1000)}, {}, false
for i = 1, #KEYS do
  local interval = tonumber(ARGV[2 * i + 1])
  nexts[i] = math.max(tonumber(tats[i] or 0), now) + interval
  local room = now + interval * ARGV[2 * i + 2] - nexts[i]
  short = short or room < 0
  answer[2 * i] = room < 0 and 0 or 1
  answer[2 * i + 1] = room < 0 and -room or math.floor(room / interval)
end
if ARGV[2] ~= '1' then return answer end
for i, key in ipairs(KEYS) do
  if not short then
    redis.call('SET', key, string.format('%.0f', nexts[i]), 'PX', math.ceil((nexts[i] - now) / 1000) + 1000)
  elseif answer[2 * i] == 1 then
    answer[2 * i + 1] = answer[2 * i + 1] + 1
  end
end
return answer
