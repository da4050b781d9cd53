-- Folds events into the guild that they changed, if nobody has done so before.
--
-- ARGV  owner, fence, guild, generation, items, picture
--       the picture is what the first so many items come to
--
-- Answers { 'ok' }, { 'changed' } or { 'fenced' }.

local owner, fence, guild, generation, items, picture = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]

if not is_current(owner, fence) then return { 'fenced' } end
local state = redis.call('HGET', key('guild:state'), guild)
if not state or string.match(state, '^%d+') ~= generation then return { 'changed' } end
local list, folded = key('guild:' .. guild), key('guild:' .. guild .. ':folded')
redis.call('DEL', folded)
redis.call('RPUSH', folded, picture)
local since = 0
for _, item in ipairs(redis.call('LRANGE', list, items, -1)) do
  redis.call('RPUSH', folded, item)
  since = since + #item
end
-- A server that is cut off in the middle has the one or the other.
redis.call('RENAME', folded, list)
write_guild_state(guild, #picture, since)
return { 'ok' }
