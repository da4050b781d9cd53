-- Persists the private events of one Discord session before they are sent. Events that are already stored stay as they
-- are.
--
-- ARGV  session, generation, maximum bytes, ms until the session expires, the epoch that everything the client has seen
--       belongs to or -, then `<s> <name>\n<data>` of each, in order
--
-- Returns { 'ok' }, { 'superseded', generation } or { 'gone' }.

local name = key('discord:' .. ARGV[1])

local is_theirs, answer = has_session(name, ARGV[2])
if not is_theirs then return answer end
local known = redis.call('HMGET', name, 'last', 'bytes', 'forgotten')
local last, bytes, forgotten = tonumber(known[1] or 0), tonumber(known[2] or 0), tonumber(known[3] or 0)
for place = 6, #ARGV do
  local text = ARGV[place]
  local s = tonumber(string.match(text, '^%d+'))
  if s > last then
    redis.call('RPUSH', name .. ':private', text)
    last, bytes = s, bytes + private_weight(text)
  end
end
while bytes > tonumber(ARGV[3]) do
  local oldest = redis.call('LPOP', name .. ':private')
  if not oldest then break end
  bytes = bytes - private_weight(oldest)
  forgotten = tonumber(string.match(oldest, '^%d+'))
end
redis.call('HSET', name, 'last', int(last), 'bytes', int(bytes), 'forgotten', int(forgotten))
carry_session(name, ARGV[5])
keep_session(ARGV[1], ARGV[4])
return { 'ok' }
