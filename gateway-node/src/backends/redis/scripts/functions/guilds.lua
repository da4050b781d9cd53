-- The state of Discord guilds.

-- The minimum bytes of events before they are folded into a guild; a larger guild needs as many bytes as it has itself.
local UNFOLDED = 65536

local function write_guild_state(guild, whole, since)
  local generation = redis.call('HINCRBY', key('log:head'), 'guilds', 1)
  redis.call('HSET', key('guild:state'), guild, int(generation) .. ' ' .. int(whole) .. ' ' .. int(since))
end

-- Records the change of a guild by an event: `c<guild>` replaces the guild with the event's data, `d<guild>` deletes
-- it, `u<guild>` appends the event to it, and `-` is no change.
local function change_guild(change, name, d)
  if change == '-' then return end
  local how, guild = string.sub(change, 1, 1), string.sub(change, 2)
  local list = key('guild:' .. guild)
  local place = string.rep('0', 20 - #guild) .. guild
  if how == 'c' then
    redis.call('DEL', list)
    redis.call('RPUSH', list, d)
    write_guild_state(guild, #d, 0)
    redis.call('ZADD', key('guild:order'), 0, place)
  elseif how == 'd' then
    redis.call('ZREM', key('guild:order'), place)
    redis.call('HDEL', key('guild:state'), guild)
    redis.call('SREM', key('guild:long'), guild)
    redis.call('DEL', list)
  else
    local state = redis.call('HGET', key('guild:state'), guild)
    if not state then return end
    local generation, whole, since = string.match(state, '^(%d+) (%d+) (%d+)$')
    since = tonumber(since) + #name + #d + 1
    redis.call('RPUSH', list, name .. '\n' .. d)
    redis.call('HSET', key('guild:state'), guild, generation .. ' ' .. whole .. ' ' .. int(since))
    if since > math.max(UNFOLDED, tonumber(whole)) then redis.call('SADD', key('guild:long'), guild) end
  end
end

-- Appends an event of a guild for the Discord sessions that have the guild.
local function append_of_guild(log, guild, name, d, now)
  change_guild('u' .. guild, name, d)
  append(log, 'a 0 - - 0/' .. guild .. ',,a', name, d, now)
end
