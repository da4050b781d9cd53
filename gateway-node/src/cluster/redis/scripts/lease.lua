-- Grants a node a number for its ids, for a window of this server's time, or makes the window longer. The windows of one
-- number never overlap.
--
-- KEYS[1]  what the keys of the cluster start with
-- ARGV     holder, number (-1 for any), lease ms, ms since the server started, what the node says of itself
--
-- workers  hash: `<holder> <first ms> <ms after the last>` by number
-- nodes    hash: `<ms after the last> <what it says of itself>` by holder
-- lease    the longest lease that was granted, in ms
--
-- Answers { 'granted', number, now, first ms, ms after the last }, or { 'wait', ms } while a holder that the server has
-- forgotten may still use its window, or { 'full' }.

local function key(name)
  return KEYS[1] .. name
end

local function int(number)
  -- The sum takes the sign from a negative zero.
  return string.format('%.0f', number + 0)
end

local holder, number, lease, uptime, about = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local longest = math.max(lease, tonumber(redis.call('GET', key('lease')) or 0))
redis.call('SET', key('lease'), int(longest))

local function grant(number, first, last)
  redis.call('HSET', key('workers'), int(number), holder .. ' ' .. int(first) .. ' ' .. int(last))
  redis.call('HSET', key('nodes'), holder, int(last) .. ' ' .. about)
  return { 'granted', int(number), int(now), int(first), int(last) }
end

local function window(record)
  local who, first, last = string.match(record, '^(%S+) (%d+) (%d+)$')
  return who, tonumber(first), tonumber(last)
end

if number >= 0 then
  local record = redis.call('HGET', key('workers'), int(number))
  if record then
    local who, first, last = window(record)
    if who == holder then return grant(number, first, math.max(last, now + lease)) end
  end
end

-- What was granted in an earlier life of the server, and is not written here any more, has ended by then.
if uptime <= longest then return { 'wait', int(longest - uptime + 1) } end

local known = {}
local records = redis.call('HGETALL', key('workers'))
for place = 1, #records, 2 do
  known[tonumber(records[place])] = records[place + 1]
end
-- Who has been gone for an hour is not listed any more.
local nodes = redis.call('HGETALL', key('nodes'))
for place = 1, #nodes, 2 do
  if tonumber(string.match(nodes[place + 1], '^%d+')) < now - 3600000 then
    redis.call('HDEL', key('nodes'), nodes[place])
  end
end
for candidate = 0, 1023 do
  local record = known[candidate]
  if not record then return grant(candidate, now, now + lease) end
  local _, _, last = window(record)
  if last <= now then return grant(candidate, now, now + lease) end
end
return { 'full' }
