-- Folds the changes of a guild into its snapshot, unless another node has done so already.
--
-- ARGV  owner, fence, guild, generation, items, picture
--       picture is the snapshot that the first `items` items result in
--
-- Returns { 'ok' }, { 'changed' } or { 'fenced' }.

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
-- A server that is killed in the middle has one list or the other.
redis.call('RENAME', folded, list)
write_guild_state(guild, #picture, since)
return { 'ok' }
