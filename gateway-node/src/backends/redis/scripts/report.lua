-- Changes the report of a session, in several calls if it is large. The counts change with the last of them.
--
-- For each new guild, the session first receives the events that waited for a session with that guild.
--
-- ARGV  run, proposed epoch, owner, fence, session, final (1 or 0), count, members, cached, number of new guilds, the
--       new guilds, the removed guilds
--
-- Returns { 'ok' }, or { 'more' } if more events wait: call again; or { 'gone' } if it is not a member; or
-- { 'fenced' }.

local run, proposed, owner, fence, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not is_current(owner, fence) then return { 'fenced' } end
local kind, known = kind_and_owner(session)
if known ~= owner then return { 'gone' } end

local now = now_ms()
local added = tonumber(ARGV[10])
-- The counts stay unchanged until the report is complete.
totals(now)
redis.call('ZADD', key('staging'), int(now + STAGING), session)
-- Stops before a guild whose waiting entries do not fit this call.
local log, left = nil, MOST_GIVEN
if is_anything_waiting() then log = open_log(run, proposed) end
for place = 11, #ARGV do
  local guild = ARGV[place]
  if place < 11 + added then
    if redis.call('SISMEMBER', key('report:' .. session), guild) == 0 then
      if log then left = give_waiting(log, guild, session, kind, owner, left, now) end
      if not left then break end
      redis.call('SADD', key('report:' .. session), guild)
      list_guild(guild, session)
    end
  elseif redis.call('SREM', key('report:' .. session), guild) == 1 then
    unlist_guild(guild, session)
  end
end
if log then close_log(log) end
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
return { 'ok' }
