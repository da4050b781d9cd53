-- Gives up an entry for some sessions alone that have all ended here before they got it: it goes to others, or waits.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, offset
--
-- Answers { 'ok' }, or { 'unheard' } when the log does not have it any more, or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }
local offset = ARGV[8]

if not is_current(owner, fence) then return { 'fenced' } end
-- Somebody has dealt with it already: an earlier try of this one.
if redis.call('ZREM', key('pending:' .. owner), offset) == 0 then return { 'ok' } end
local now = now_ms()
local log = open_log(run, proposed)
local is_kept = pass_on(log, offset, true, bounds.age, now)
trim(log, bounds, now)
close_log(log)
if is_kept then return { 'ok' } end
return { 'unheard' }
