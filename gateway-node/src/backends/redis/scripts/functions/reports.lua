-- Sessions, the reports of bots, and their counts.

-- The sums exceed the 53 bits of a Lua number, so each is stored in two parts: the lower 26 bits, and the rest.
local HALF = 67108864

local function add(field, value, sign)
  local high = math.floor(value / HALF)
  redis.call('HINCRBY', key('sums'), field .. ':high', int(sign * high))
  redis.call('HINCRBY', key('sums'), field .. ':low', int(sign * (value - high * HALF)))
end

local function add_values(values, sign)
  if not values then return end
  local count, members, cached = string.match(values, '^(%d+) (%d+) (%d+)$')
  add('guilds', tonumber(count), sign)
  add('members', tonumber(members), sign)
  add('cached', tonumber(cached), sign)
end

local function list_guild(guild, session)
  local reporters = redis.call('HGET', key('guilds'), guild) or ''
  redis.call('HSET', key('guilds'), guild, reporters .. session .. ' ')
end

local function unlist_guild(guild, session)
  local reporters = redis.call('HGET', key('guilds'), guild)
  if not reporters then return end
  local kept = {}
  for reporter in string.gmatch(reporters, '%S+') do
    if reporter ~= session then kept[#kept + 1] = reporter .. ' ' end
  end
  if #kept == 0 then
    redis.call('HDEL', key('guilds'), guild)
  else
    redis.call('HSET', key('guilds'), guild, table.concat(kept))
  end
end

local function mark_dirty()
  redis.call('HSET', key('log:head'), 'dirty', 1)
end

-- Returns the counts, as `<high>:<low>` of guilds, members and cached members. While a report is partly added or
-- removed, the previous counts are returned.
local function totals(now)
  redis.call('ZREMRANGEBYSCORE', key('staging'), '-inf', int(now))
  if redis.call('EXISTS', key('staging')) == 1 then
    return redis.call('HGET', key('log:head'), 'totals') or '0:0,0:0,0:0', true
  end
  local sums = redis.call('HMGET', key('sums'), 'guilds:high', 'guilds:low', 'members:high', 'members:low',
    'cached:high', 'cached:low')
  local parts = {}
  for place = 1, 5, 2 do
    local high, low = tonumber(sums[place] or 0), tonumber(sums[place + 1] or 0)
    if place == 1 then low = low + redis.call('HLEN', key('guilds')) end
    local carry = math.floor(low / HALF)
    parts[#parts + 1] = int(high + carry) .. ':' .. int(low - carry * HALF)
  end
  local text = table.concat(parts, ',')
  redis.call('HSET', key('log:head'), 'totals', text)
  return text, false
end

-- How long a partly processed report or leave freezes the counts, in ms.
local STAGING = 5000

-- Records that a session watches a guild. The order of the writes matters: a server that is killed between them may
-- count a session too often, and an event is accepted that has no receiver, but never too rarely.
local function watch(guild, session, kind, owner)
  if redis.call('SISMEMBER', key('report:' .. session), guild) == 1 then return end
  redis.call('HINCRBY', key('watchers:' .. guild), kind .. ' ' .. owner, 1)
  redis.call('SADD', key('report:' .. session), guild)
end

-- Takes back one `watch`, after the guild was removed from the session's set.
local function unwatch(guild, kind, owner)
  if redis.call('HINCRBY', key('watchers:' .. guild), kind .. ' ' .. owner, -1) < 1 then
    redis.call('HDEL', key('watchers:' .. guild), kind .. ' ' .. owner)
  end
end

-- Removes a session and its report, at most `budget` of its guilds per call. Returns whether it is done.
local function forget(session, budget, now)
  local kind, owner = kind_and_owner(session)
  if not kind then return true end
  redis.call('ZREM', key('turn:' .. kind), session)
  if not take_back_all(session, kind, now) then return false end
  local guilds = redis.call('SPOP', key('report:' .. session), budget)
  if kind ~= BOT then
    for _, guild in ipairs(guilds) do unwatch(guild, kind, owner) end
    if #guilds == budget then return false end
    redis.call('HDEL', key('sessions'), session)
    redis.call('SREM', key('node:' .. owner), session)
    return true
  end
  if #guilds > 0 then
    totals(now)
    redis.call('ZADD', key('staging'), int(now + STAGING), session)
    mark_dirty()
  end
  for _, guild in ipairs(guilds) do
    unlist_guild(guild, session)
  end
  if #guilds == budget then return false end
  local values = redis.call('HGET', key('values'), session)
  if values then
    add_values(values, -1)
    redis.call('HDEL', key('values'), session)
    mark_dirty()
  end
  redis.call('ZREM', key('staging'), session)
  redis.call('HDEL', key('sessions'), session)
  redis.call('SREM', key('node:' .. owner), session)
  return true
end
