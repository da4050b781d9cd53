-- Gives back every entry addressed to sessions of this node up to an offset: the node skips them, or has no sessions
-- any more. They go to other sessions, or wait. Each call does a part.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, offset
--
-- Unheard entries are those that the log no longer has.
--
-- Returns { 'ok', unheard }, or { 'more', unheard }: call again; or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }

if not is_current(owner, fence) then return { 'fenced' } end
if redis.call('EXISTS', key('pending:' .. owner)) == 0 then return { 'ok', '0' } end
local log, now = open_log(run, proposed), now_ms()
local is_more, unheard = pass_on_pending(log, owner, ARGV[8], true, bounds.age, now)
trim(log, bounds, now)
close_log(log)
return { is_more and 'more' or 'ok', int(unheard) }
