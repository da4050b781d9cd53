-- Grants a node a number for its ids, for a window of time, or makes the window longer. The windows of one number never
-- overlap, and the ids that two nodes make in them never do.
--
-- The time is that of this server's clock, but it never goes back: where the clock does, or the server has lost what was
-- written here, the time goes on from the latest that is written, or that a node says, until the clock is there again.
--
-- KEYS[1]  what the keys of the cluster start with
-- ARGV     holder, number (-1 for any), lease ms, run, the time as the node has it (0 if it has none), what the node says
--          of itself
--
-- workers  hash: `<holder> <first ms> <ms after the last>` by number
-- nodes    hash: `<ms after the last> <what it says of itself>` by holder
-- lease    the longest lease that was granted, in ms
-- clock    `<ms> <ms of the server's clock> <run> <ms of its beginning>`: the time of the latest call, and the life of the
--          server that it came in
--
-- Answers { 'granted', number, now, first ms, ms after the last }, where the window may begin later than now, or
-- { 'wait', ms } while a holder that the server has forgotten may still use its window, or { 'full' }, or { 'clock', now }
-- for a time that ids cannot tell.

-- From 2020 on, for 2^41 ms.
local EARLIEST, END = 1577836800000, 3776860055552
-- What nodes that have the same time may differ by, in ms.
local SLACK = 250

local function key(name)
  return KEYS[1] .. name
end

local function int(number)
  -- The sum takes the sign from a negative zero.
  return string.format('%.0f', number + 0)
end

local holder, number, lease, run, told, about =
  ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), ARGV[6]

local longest = math.max(lease, tonumber(redis.call('GET', key('lease')) or 0))
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local now = clock
local latest, seen, life, began = string.match(redis.call('GET', key('clock')) or '', '^(%d+) (%d+) (%S+) (%d+)$')
if latest then
  -- A clock that is behind still tells how much time goes by.
  now = math.max(clock, latest + math.min(math.max(0, clock - seen), longest))
end
if life ~= run or told > now + SLACK then
  -- Something may have been lost, at the latest now.
  began = math.max(now, told)
end
now, began = math.max(now, told), tonumber(began)
-- What was granted before, and is not written here any more, has ended by then.
local clear = began + longest + SLACK
if now < EARLIEST or clear + longest >= END or now + lease >= END then return { 'clock', int(now) } end
redis.call('SET', key('lease'), int(longest))
redis.call('SET', key('clock'), table.concat({ int(now), int(clock), run, int(began) }, ' '))

local function grant(number, first, last)
  redis.call('HSET', key('workers'), int(number), holder .. ' ' .. int(first) .. ' ' .. int(last))
  redis.call('HSET', key('nodes'), holder, int(last) .. ' ' .. about)
  return { 'granted', int(number), int(now), int(first), int(last) }
end

local function window(record)
  local who, first, last = string.match(record, '^(%S+) (%d+) (%d+)$')
  return who, tonumber(first), tonumber(last)
end

local start = math.max(now, clear)
if number >= 0 then
  local record = redis.call('HGET', key('workers'), int(number))
  if record then
    local who, first, last = window(record)
    if who == holder and now < last then return grant(number, first, math.max(last, now + lease)) end
    -- Another one may have had the number since, where that has been lost.
    if who == holder then return grant(number, start, start + lease) end
  end
end

-- Who is new waits, so that those who know the time come first.
if told == 0 and now < clear then return { 'wait', int(clear - now) } end

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
  if not record then return grant(candidate, start, start + lease) end
  local _, _, last = window(record)
  if last <= now then return grant(candidate, start, start + lease) end
end
return { 'full' }
