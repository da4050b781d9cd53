-- Records that a Discord session has lost its connection.
--
-- ARGV  session, generation, ms for which it can be resumed, 1 if it was closed for reading too slowly
--
-- Returns { 'ok' }, { 'superseded', generation } or { 'gone' }.

local name = key('discord:' .. ARGV[1])

local is_theirs, answer = has_session(name, ARGV[2])
if not is_theirs then return answer end
if ARGV[4] == '1' then
  local now = now_ms()
  local cuts = { int(now) }
  for cut in string.gmatch(redis.call('HGET', name, 'cuts') or '', '%d+') do
    if now - tonumber(cut) < tonumber(ARGV[3]) then cuts[#cuts + 1] = cut end
  end
  redis.call('HSET', name, 'cuts', table.concat(cuts, ' '))
end
keep_session(ARGV[1], ARGV[3])
return { 'ok' }
