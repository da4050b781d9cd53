-- Records how far the client of a Discord session is, if that is known, and that it is connected. Removes its private
-- events up to there.
--
-- ARGV  session, generation, ms until the session expires, the epoch that everything the client has seen belongs to
--       or -, then s, epoch and offset or nothing
--
-- Returns { 'ok' }, { 'superseded', generation } or { 'gone' }.

local name = key('discord:' .. ARGV[1])

local is_theirs, answer = has_session(name, ARGV[2])
if not is_theirs then return answer end
local s = tonumber(ARGV[5] or -1)
if s >= tonumber(redis.call('HGET', name, 's')) then
  local moved_to = redis.call('HGET', name, 'epoch')
  redis.call('HSET', name, 's', ARGV[5], 'epoch', ARGV[6], 'offset', ARGV[7])
  -- A checkpoint that waited during an outage may be of an earlier epoch than that of the session. Its client may have
  -- seen entries of the later one, so the session stays there.
  carry_session(name, moved_to)
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
