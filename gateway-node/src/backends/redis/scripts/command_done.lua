-- Records that a node has executed a command.
--
-- ARGV  owner, fence, the command's id, ms until the record expires
--
-- Returns { 'ok' } or { 'fenced' }.

if not is_current(ARGV[1], ARGV[2]) then return { 'fenced' } end
local name = key('order:' .. ARGV[3])
redis.call('SADD', name, ARGV[1])
redis.call('PEXPIRE', name, ARGV[4])
return { 'ok' }
