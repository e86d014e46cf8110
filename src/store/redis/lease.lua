-- Hands out due jobs of one lane. The lease is the score, so a lease that runs out needs no reaper.
-- KEYS 1 lanes  2 queue  3 jobs  4 hold
-- ARGV 1 shift ms  2 lease ms  3 lane, '': timers  4 most jobs  5 most ids to look at  then groups to leave out
-- -> {now, due ms of the first job that is left and due or 0, then for each job: id, fence, attempts, lapsed, job}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
local held = tonumber(redis.call('GET', KEYS[4]) or 0)
held = held > now and held
local out, room, busy = {now, 0}, tonumber(ARGV[4]), {}
for i = 6, #ARGV do busy[ARGV[i]] = true end
local ids = held and {} or redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[5])
for _, id in ipairs(ids) do
  local group = string.match(id, '^([^/]*)/') or ''
  if room == 0 then break end
  if group == '' or not busy[group] then
    local job, state = unpack(redis.call('HMGET', KEYS[3], id, id .. '|s'))
    if job then
      local flag = string.match(job, '^%d+')
      state = state or flag .. ' 0 ' .. flag .. ' '
      local fence, attempts, lapsed, note = string.match(state, '^(%d+) (%d+) (%d+) (.*)$')
      redis.call('HSET', KEYS[3], id .. '|s', table.concat({fence + 1, attempts, lapsed + 1, note}, ' '))
      redis.call('ZADD', KEYS[2], now + ARGV[2], id)
      for _, value in ipairs({id, fence + 1, attempts, lapsed, job}) do out[#out + 1] = value end
      busy[group], room = true, room - 1
    else
      redis.call('ZREM', KEYS[2], id)
    end
  end
end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if first and not held and tonumber(first) <= now then out[2] = first end
if ARGV[3] == '' then return out end
if first then redis.call('ZADD', KEYS[1], math.max(first, held or 0), ARGV[3])
else redis.call('ZREM', KEYS[1], ARGV[3]) end
return out
