-- Reads guilds.
--
-- ARGV  run, proposed epoch, owner, fence, which, guild, bytes
--       which is `after`: those behind the guild (20 digits, or `-`), as many as have so many bytes and one more;
--       `one`: the guild alone, if there is one; `long`: one whose events are to be folded, and nobody else is told of it
--
-- Answers { 'ok', epoch, top, the last guild that was looked at of those behind one (20 digits, `-` for none), then for each
-- guild: id, generation, items, each item }, or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local which, guild, bytes = ARGV[5], ARGV[6], tonumber(ARGV[7])

if not is_current(owner, fence) then return { 'fenced' } end
local log = open_log(run, proposed)
local answer = { 'ok', log.epoch, int(log.top), '-' }

-- Adds what is known of a guild. Answers how many bytes that is.
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
