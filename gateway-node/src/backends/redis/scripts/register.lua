-- Registers a node with the application, or registers it again on a new connection: from now on, commands of older
-- connections are refused.
--
-- ARGV  run, proposed epoch, owner, fence, lease ms, known (1 if the owner registered before), random name, database
--
-- Returns { 'ok', identity }; or { 'fenced' } if the owner was reaped and has to take another name; or { 'superseded' }
-- if a later connection has registered.

local run, proposed, owner, fence, lease = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local deadline = redis.call('ZSCORE', key('nodes'), owner)
if (deadline and tonumber(deadline) < 0) or (not deadline and ARGV[6] == '1') then
  return { 'fenced' }
end
if tonumber(redis.call('HGET', key('owners'), owner) or 0) >= tonumber(fence) then return { 'superseded' } end
redis.call('HSET', key('owners'), owner, fence)
redis.call('ZADD', key('nodes'), int(now_ms() + lease), owner)
local log = open_log(run, proposed)
close_log(log)
-- Data copied or swapped in from another database brings that database's identity along.
if not log.identity or string.match(log.identity, '%.(%d+)$') ~= ARGV[8] then
  log.identity = ARGV[7] .. '.' .. ARGV[8]
  redis.call('HSET', key('log:head'), 'identity', log.identity)
end
return { 'ok', log.identity }
