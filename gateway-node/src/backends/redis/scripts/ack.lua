-- Notes that entries for some sessions alone have been delivered to at least one of them.
--
-- ARGV  owner, fence, offsets
--
-- Answers { 'ok' } or { 'fenced' }.

local owner, fence = ARGV[1], ARGV[2]

if not is_current(owner, fence) then return { 'fenced' } end
for place = 3, #ARGV do
  redis.call('ZREM', key('pending:' .. owner), ARGV[place])
  redis.call('HDEL', key('undelivered'), ARGV[place])
end
return { 'ok' }
