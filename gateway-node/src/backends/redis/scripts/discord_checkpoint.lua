-- Notes what the client of a Discord session has, if that is known, and that it is there. What was for the session alone
-- up to there is not needed any more.
--
-- ARGV  session, generation, ms for which the session is kept, the epoch in which everything stands that the client has
--       seen or -, then s, epoch and offset or nothing
--
-- Answers { 'ok' }, { 'superseded', generation } or { 'gone' }.

local name = key('discord:' .. ARGV[1])

local is_theirs, answer = has_session(name, ARGV[2])
if not is_theirs then return answer end
local s = tonumber(ARGV[5] or -1)
if s >= tonumber(redis.call('HGET', name, 's')) then
  redis.call('HSET', name, 's', ARGV[5], 'epoch', ARGV[6], 'offset', ARGV[7])
  local bytes = tonumber(redis.call('HGET', name, 'bytes') or 0)
  local before = bytes
  while true do
    local oldest = redis.call('LINDEX', name .. ':private', 0)
    if not oldest or tonumber(string.match(oldest, '^%d+')) > s then break end
    redis.call('LPOP', name .. ':private')
    bytes = bytes - private_weight(oldest)
  end
  if bytes ~= before then redis.call('HSET', name, 'bytes', int(bytes)) end
end
carry_session(name, ARGV[4])
keep_session(ARGV[1], ARGV[3])
return { 'ok' }
