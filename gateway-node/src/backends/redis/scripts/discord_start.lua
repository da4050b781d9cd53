-- Counts the start of a Discord session, if its application may start one now.
--
-- ARGV  remainder of the shard, most in a window, ms of a window, most in a day, ms of a day
--
-- Answers { 'ok' } or { 'throttled' }.

local window, day = key('discord:starts:' .. ARGV[1]), key('discord:starts')

if tonumber(redis.call('GET', window) or 0) >= tonumber(ARGV[2])
    or tonumber(redis.call('GET', day) or 0) >= tonumber(ARGV[4]) then
  return { 'throttled' }
end
if redis.call('INCR', window) == 1 then redis.call('PEXPIRE', window, ARGV[3]) end
if redis.call('INCR', day) == 1 then redis.call('PEXPIRE', day, ARGV[5]) end
return { 'ok' }
