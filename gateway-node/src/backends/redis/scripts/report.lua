-- Changes what a session reported, in several calls when that is much; the counts change with the last of them.
--
-- A guild that is new gets what waited for a session that has it, before it gets anything else.
--
-- ARGV  run, proposed epoch, owner, fence, session, final (1 or 0), count, members, cached, number of new guilds, guilds,
--       then the new guilds and those that are gone
--
-- Answers { 'ok' }, or { 'more' } when more waits: call again; or { 'gone' } when it is no member, or { 'fenced' }.

local run, proposed, owner, fence, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not is_current(owner, fence) then return { 'fenced' } end
local kind, known = kind_and_owner(session)
if known ~= owner then return { 'gone' } end

local now = now_ms()
local added = tonumber(ARGV[10])
-- The counts are to stay what they are until the report is whole.
totals(now)
redis.call('ZADD', key('staging'), int(now + STAGING), session)
-- Without the guilds whose entries do not fit this call.
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
