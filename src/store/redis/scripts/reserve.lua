-- Claims a key, unless another claim holds it.
--
-- KEYS 1.. reservations: the key under each of its digests
-- ARGV 1 shift of the clock, ms
--      2 how long it is held, ms
--      for each reservation: claim; the earlier claim that it may replace ('': none)
-- -> {now, the claim that holds the key}
--
-- The value is the end of the claim in ms (6 bytes), followed by the claim.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local memory = tonumber(ARGV[2])

for i = 1, #KEYS do
  -- GET: a repeated request is answered as the first one was.
  local value = redis.call('GET', KEYS[i])
  if value then
    local till = struct.unpack('>I6', value)
    local holder = string.sub(value, 7)
    if till > now and holder ~= ARGV[2 * i + 2] then
      -- SET: a write, so that a following WAIT covers the earlier claim.
      redis.call('SET', KEYS[i], value, 'KEEPTTL')
      return {now, holder}
    end
  end
end
for i = 1, #KEYS do
  -- SET: the claim, for as long as repeats are expected.
  redis.call('SET', KEYS[i], struct.pack('>I6', now + memory) .. ARGV[2 * i + 1], 'PX', memory)
end
return {now, ARGV[3]}
