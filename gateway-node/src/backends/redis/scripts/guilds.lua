-- Reads guilds.
--
-- ARGV  run, proposed epoch, owner, fence, which, guild, bytes
--       which is `after`: the guilds after `guild` (20 digits, or `-` for the first), until `bytes` is exceeded;
--       `one`: only this guild, if it exists; `long`: one whose events are to be folded, which is given to no other
--       node
--
-- Returns { 'ok', epoch, top, the last guild read for `after` (20 digits, `-` for none), then for each guild: id,
-- generation, items, each item }, or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local which, guild, bytes = ARGV[5], ARGV[6], tonumber(ARGV[7])

if not is_current(owner, fence) then return { 'fenced' } end
local log = open_log(run, proposed)
local answer = { 'ok', log.epoch, int(log.top), '-' }

-- Adds a guild to the reply. Returns its size in bytes.
local function add(id)
  local state = redis.call('HGET', key('guild:state'), id)
  local items = redis.call('LRANGE', key('guild:' .. id), 0, -1)
  if not state or #items == 0 then return 0 end
  local generation, whole, since = string.match(state, '^(%d+) (%d+) (%d+)$')
  answer[#answer + 1] = id
  answer[#answer + 1] = generation
  answer[#answer + 1] = int(#items)
  for _, item in ipairs(items) do answer[#answer + 1] = item end
  return tonumber(whole) + tonumber(since)
end

if which == 'one' then
  add(guild)
elseif which == 'long' then
  local long = redis.call('SPOP', key('guild:long'))
  if long then add(long) end
else
  local start = guild == '-' and '-' or '(' .. guild
  local size = 0
  for _, place in ipairs(redis.call('ZRANGEBYLEX', key('guild:order'), start, '+', 'LIMIT', 0, 256)) do
    if size > bytes then break end
    size = size + add(string.match(place, '^0*(%d+)$'))
    answer[4] = place
  end
end
return answer
