-- Changes what a session reported, in several calls when that is much; the counts change with the last of them.
--
-- ARGV  owner, fence, session, final (1 or 0), count, members, cached, number of new guilds, guilds,
--       then the new guilds and those that are gone
--
-- Answers { 'ok' }, or { 'gone' } when it is no member, or { 'fenced' }.

local owner, fence, session = ARGV[1], ARGV[2], ARGV[3]

if not is_current(owner, fence) then return { 'fenced' } end
local _, known = kind_and_owner(session)
if known ~= owner then return { 'gone' } end

local now = now_ms()
local added = tonumber(ARGV[8])
-- The counts are to stay what they are until the report is whole.
totals(now)
redis.call('ZADD', key('staging'), int(now + STAGING), session)
for place = 9, #ARGV do
  local guild = ARGV[place]
  if place < 9 + added then
    if redis.call('SADD', key('report:' .. session), guild) == 1 then list_guild(guild, session) end
  elseif redis.call('SREM', key('report:' .. session), guild) == 1 then
    unlist_guild(guild, session)
  end
end
if ARGV[4] == '1' then
  add_values(redis.call('HGET', key('values'), session), -1)
  local values = ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. ARGV[7]
  add_values(values, 1)
  redis.call('HSET', key('values'), session, values)
  redis.call('ZREM', key('staging'), session)
end
mark_dirty()
return { 'ok' }
