-- Changes the report of a bot, in several calls if it is large. The counts change with the last of them. For each new
-- guild, the bot first receives the events that waited for a bot with that guild.
--
-- For a session of another kind, the guilds are those that it watches, and nothing is counted.
--
-- ARGV  run, proposed epoch, owner, fence, session, final (1 or 0), count, members, cached, number of new guilds, the
--       new guilds, the removed guilds
--
-- Returns { 'ok', epoch, top }, or { 'more' } if more events wait: call again; or { 'gone' } if it is not a member; or
-- { 'fenced' }.

local run, proposed, owner, fence, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not is_current(owner, fence) then return { 'fenced' } end
local kind, known = kind_and_owner(session)
if known ~= owner then return { 'gone' } end

local now = now_ms()
local added = tonumber(ARGV[10])

if kind ~= BOT then
  for place = 11, #ARGV do
    if place < 11 + added then
      watch(ARGV[place], session, kind, owner)
    elseif redis.call('SREM', key('report:' .. session), ARGV[place]) == 1 then
      unwatch(ARGV[place], kind, owner)
    end
  end
  local log = open_log(run, proposed)
  return { 'ok', log.epoch, int(log.top) }
end

-- The counts stay unchanged until the report is complete.
totals(now)
redis.call('ZADD', key('staging'), int(now + STAGING), session)
-- Stops before a guild whose waiting entries do not fit this call.
local log, left = open_log(run, proposed), MOST_GIVEN
local is_waiting = is_anything_waiting()
for place = 11, #ARGV do
  local guild = ARGV[place]
  if place < 11 + added then
    if redis.call('SISMEMBER', key('report:' .. session), guild) == 0 then
      if is_waiting then left = give_waiting(log, guild, session, kind, owner, left, now) end
      if not left then break end
      redis.call('SADD', key('report:' .. session), guild)
      list_guild(guild, session)
    end
  elseif redis.call('SREM', key('report:' .. session), guild) == 1 then
    unlist_guild(guild, session)
  end
end
if is_waiting then close_log(log) end
if not left then
  mark_dirty()
  return { 'more' }
end
if ARGV[6] == '1' then
  add_values(redis.call('HGET', key('values'), session), -1)
  local values = ARGV[7] .. ' ' .. ARGV[8] .. ' ' .. ARGV[9]
  add_values(values, 1)
  redis.call('HSET', key('values'), session, values)
  redis.call('ZREM', key('staging'), session)
end
mark_dirty()
return { 'ok', log.epoch, int(log.top) }
