-- Counts the start of a Discord session, if its application may start one now.
--
-- ARGV  remainder of the shard, maximum per window, ms of a window, maximum per day, ms of a day
--
-- Returns { 'ok' } or { 'throttled' }.

local window, day = key('discord:starts:' .. ARGV[1]), key('discord:starts')

if tonumber(redis.call('GET', window) or 0) >= tonumber(ARGV[2])
    or tonumber(redis.call('GET', day) or 0) >= tonumber(ARGV[4]) then
  return { 'throttled' }
end
if redis.call('INCR', window) == 1 then redis.call('PEXPIRE', window, ARGV[3]) end
if redis.call('INCR', day) == 1 then redis.call('PEXPIRE', day, ARGV[5]) end
return { 'ok' }
