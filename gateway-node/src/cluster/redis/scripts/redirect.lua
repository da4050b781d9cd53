-- Gives an entry that was for one session, which ended before it got it, to another.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, offset
--
-- Answers { 'ok' }, or { 'unheard' } when there is no other, or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }
local offset = ARGV[8]

if not is_current(owner, fence) then return { 'fenced' } end
-- Somebody has dealt with it already: an earlier try of this one.
if redis.call('ZREM', key('pending:' .. owner), offset) == 0 then return { 'ok' } end
local now = now_ms()
local log = open_log(run, proposed)
local is_given = append_again(log, offset, now)
trim(log, bounds, now)
close_log(log)
if is_given then return { 'ok' } end
return { 'unheard' }
