-- Claims a key, unless somebody holds it.
--
-- KEYS 1 reservation
-- ARGV 1 shift of the clock, ms
--      2 claim
--      3 how long it is held, ms
--      4 the claim that gives way; '': none
-- -> {now, the claim that holds the key}
--
-- The value is the end of the claim in ms (6 bytes), and the claim.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local memory = tonumber(ARGV[3])

-- GET: a request that is repeated is answered as the first one was.
local value = redis.call('GET', KEYS[1])
if value then
  local till = struct.unpack('>I6', value)
  local holder = string.sub(value, 7)
  if till > now and holder ~= ARGV[4] then
    -- SET: a write, so that a following WAIT covers the claim that was first.
    redis.call('SET', KEYS[1], value, 'KEEPTTL')
    return {now, holder}
  end
end
-- SET: the claim, for as long as repeats are expected.
redis.call('SET', KEYS[1], struct.pack('>I6', now + memory) .. ARGV[2], 'PX', memory)
return {now, ARGV[2]}
