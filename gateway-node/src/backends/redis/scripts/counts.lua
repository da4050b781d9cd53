-- Appends the counts if they have changed, at most once per interval for the whole cluster.
--
-- ARGV  run, proposed epoch, owner, fence, interval ms, entries, age ms, bytes, mask, name
--
-- Returns { 'ok' }, or { 'later', ms } if it is too early, or { 'fenced' }.

local run, proposed, owner, fence, interval = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local bounds = { entries = tonumber(ARGV[6]), age = tonumber(ARGV[7]), bytes = tonumber(ARGV[8]) }

if not is_current(owner, fence) then return { 'fenced' } end
if not redis.call('HGET', key('log:head'), 'dirty') then return { 'ok' } end
local wait = redis.call('PTTL', key('counts'))
if wait > 0 then return { 'later', int(wait) } end
local now = now_ms()
local counts, is_staging = totals(now)
if is_staging then return { 'later', '10' } end
redis.call('HDEL', key('log:head'), 'dirty')
if redis.call('HGET', key('log:head'), 'told') == counts then return { 'ok' } end
redis.call('SET', key('counts'), owner, 'PX', interval)
local log = open_log(run, proposed)
append(log, 'c ' .. ARGV[9] .. ' - ' .. counts .. ' -', ARGV[10], '', now)
trim(log, bounds, now)
close_log(log)
redis.call('HSET', key('log:head'), 'told', counts)
return { 'ok' }
