-- Records that a node has carried out an order.
--
-- ARGV  owner, fence, the order's id, ms for which that is kept
--
-- Answers { 'ok' } or { 'fenced' }.

if not is_current(ARGV[1], ARGV[2]) then return { 'fenced' } end
local name = key('order:' .. ARGV[3])
redis.call('SADD', name, ARGV[1])
redis.call('PEXPIRE', name, ARGV[4])
return { 'ok' }
