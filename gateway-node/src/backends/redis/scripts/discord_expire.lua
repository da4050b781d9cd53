-- Finds Discord sessions whose resume window has passed, and undoes the presences and voice states of ended sessions:
-- publishes that the bot user is offline in each guild that no other session of it covers, and that it has left the
-- voice channels of the session. Each call does a part; any node may continue where another stopped.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, 1 if passed deadlines can be trusted, budget
--
-- Returns { 'ok', events }, { 'more', events } or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }
local budget = tonumber(ARGV[9])

if not is_current(owner, fence) then return { 'fenced' } end
local now = now_ms()

local late = {}
if ARGV[8] == '1' then
  late = redis.call('ZRANGEBYSCORE', key('discord:deadlines'), '-inf', int(now), 'LIMIT', 0, 64)
  for _, session in ipairs(late) do
    redis.call('DEL', key('discord:' .. session), key('discord:' .. session .. ':private'))
    uncover(session)
  end
end
if redis.call('EXISTS', key('discord:over')) == 0 then
  return { #late == 64 and 'more' or 'ok', '0' }
end

-- The shard of a guild among `count`. Ids exceed the 53 bits of a Lua number, so they are divided in two parts.
local SHIFT = 4194304
local function shard_of(guild, count)
  local high, low = tonumber(string.sub(guild, 1, -10)) or 0, tonumber(string.sub(guild, -9))
  local rest = high % SHIFT * 1000000000 + low
  return ((high - high % SHIFT) / SHIFT * 1000000000 + (rest - rest % SHIFT) / SHIFT) % count
end

local log = open_log(run, proposed)
local before = log.top

local function leave_channels(session, user)
  local own, voices = key('discord:' .. session .. ':voice'), key('discord:voices:' .. user)
  local guilds = redis.call('HRANDFIELD', own, budget)
  for _, guild in ipairs(guilds) do
    if redis.call('HGET', voices, guild) == session then
      append_of_guild(log, guild, 'VOICE_STATE_UPDATE', redis.call('HGET', own, guild), now)
      redis.call('HDEL', voices, guild)
    end
    redis.call('HDEL', own, guild)
  end
  return #guilds < budget
end

-- Processes part of the user's guilds, starting at `cursor`. Returns the next cursor, or 0 at the end.
local function go_offline(user, id, count, cursor)
  local covers = {}
  local counts = {}
  local shards = redis.call('HKEYS', key('discord:covers:' .. user))
  for _, shard in ipairs(shards) do
    covers[shard] = true
    counts[string.match(shard, ' (%d+)$')] = true
  end
  if covers[id .. ' ' .. count] then return '0' end
  local presences = key('discord:presences:' .. user)
  local part = redis.call('HSCAN', presences, cursor, 'COUNT', budget)
  for place = 1, #part[2], 2 do
    local guild = part[2][place]
    local is_seen = int(shard_of(guild, tonumber(count))) ~= id
    for other, _ in pairs(counts) do
      is_seen = is_seen or covers[int(shard_of(guild, tonumber(other))) .. ' ' .. other]
    end
    if not is_seen then
      append_of_guild(log, guild, 'PRESENCE_UPDATE', '{"activities":[],"client_status":{},"guild_id":"' .. guild
        .. '","status":"offline","user":{"id":"' .. user .. '"}}', now)
      redis.call('HDEL', presences, guild)
    end
  end
  return part[1]
end

for _ = 1, 64 do
  local next = redis.call('LINDEX', key('discord:over'), 0)
  if not next or log.top - before >= budget then break end
  local session, user, id, count, cursor = string.match(next, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  if leave_channels(session, user) then
    cursor = go_offline(user, id, count, cursor)
    if cursor == '0' then
      redis.call('LPOP', key('discord:over'))
    else
      redis.call('LSET', key('discord:over'), 0, table.concat({ session, user, id, count, cursor }, ' '))
    end
  end
end
if log.top ~= before then trim(log, bounds, now) end
close_log(log)
local is_done = #late < 64 and redis.call('EXISTS', key('discord:over')) == 0
return { is_done and 'ok' or 'more', int(log.top - before) }
