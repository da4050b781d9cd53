-- Gives a Discord session a new owner, and notifies the nodes.
--
-- ARGV  session, key, version of the filter, the last dispatch that the client has, how often it may have been closed
--       for reading too slowly, ms for which such closes count, ms until the session expires
--
-- Returns { 'ok', generation, s, epoch, offset, record, epoch of the log, top, private, ... } or { 'gone' }.

local session, seq = ARGV[1], tonumber(ARGV[4])
local name = key('discord:' .. session)

local known = redis.call('HMGET', name, 'generation', 'ended', 'key', 'version', 's', 'epoch', 'offset', 'record',
  'forgotten', 'cuts')
local generation = known[1]
if not generation or known[2] or known[3] ~= ARGV[2] or known[4] ~= ARGV[3] then return { 'gone' } end
local now, cuts = now_ms(), 0
for cut in string.gmatch(known[10] or '', '%d+') do
  if now - tonumber(cut) < tonumber(ARGV[6]) then cuts = cuts + 1 end
end
-- The request is too late: the client has since given up its connection and continued on another.
if seq < tonumber(known[5]) or seq < tonumber(known[9] or 0) then return { 'gone' } end
if cuts >= tonumber(ARGV[5]) then
  end_session(session, generation, ARGV[7])
  return { 'gone' }
end
generation = int(tonumber(generation) + 1)
redis.call('HSET', name, 'generation', generation)
keep_session(session, ARGV[7])
local head = redis.call('HMGET', key('log:head'), 'epoch', 'top', 'identity')
broadcast(head[3], 'owner ' .. session .. ' ' .. generation)
local answer = { 'ok', generation, known[5], known[6], known[7], known[8], head[1] or '-', head[2] or '0' }
for _, private in ipairs(redis.call('LRANGE', name .. ':private', 0, -1)) do
  answer[#answer + 1] = private
end
return answer
