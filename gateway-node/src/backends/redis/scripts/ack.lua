-- Acknowledges entries addressed to specific sessions: at least one of them received each.
--
-- ARGV  owner, fence, offsets
--
-- Returns { 'ok' } or { 'fenced' }.

local owner, fence = ARGV[1], ARGV[2]

if not is_current(owner, fence) then return { 'fenced' } end
for place = 3, #ARGV do
  redis.call('ZREM', key('pending:' .. owner), ARGV[place])
  redis.call('HDEL', key('undelivered'), ARGV[place])
end
return { 'ok' }
