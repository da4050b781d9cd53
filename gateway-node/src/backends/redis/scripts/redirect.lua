-- Gives back an entry whose addressed sessions all ended here before they received it: it goes to other sessions, or
-- waits.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, offset
--
-- Returns { 'ok' }, or { 'unheard' } if the log no longer has the entry, or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }
local offset = ARGV[8]

if not is_current(owner, fence) then return { 'fenced' } end
-- An earlier attempt of this call has dealt with it already.
if redis.call('ZREM', key('pending:' .. owner), offset) == 0 then return { 'ok' } end
local now = now_ms()
local log = open_log(run, proposed)
local is_kept = pass_on(log, offset, true, bounds.age, now)
trim(log, bounds, now)
close_log(log)
if is_kept then return { 'ok' } end
return { 'unheard' }
