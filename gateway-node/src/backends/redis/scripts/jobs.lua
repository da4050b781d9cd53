-- Takes back jobs whose workers took too long, forgets undeliverable ones that were kept long enough, and gives jobs that
-- wait to workers. Each call does a part.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, how long undeliverable jobs are kept in ms
--
-- Returns { 'ok' or 'more' (call again), then `<id> <name>` of each job that has become undeliverable }; or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }
local kept = tonumber(ARGV[8])
-- The maximum number of jobs of each kind of work.
local MOST = 64

if not is_current(owner, fence) then return { 'fenced' } end
if tonumber(redis.call('HGET', key('log:head'), 'jobs') or 0) == 0 then return { 'ok' } end
local now = now_ms()
local late = redis.call('ZRANGEBYSCORE', key('jobs:delivered'), '-inf', int(now), 'LIMIT', 0, MOST)
for _, id in ipairs(late) do
  local session = redis.call('HGET', key('job:' .. id), 'session')
  take_back(id, now, now)
  free_place(id, session)
end
local old = redis.call('ZRANGEBYSCORE', key('jobs:undeliverable'), '-inf', int(now - kept), 'LIMIT', 0, MOST)
for _, id in ipairs(old) do
  if not remove_job(id) then redis.call('ZREM', key('jobs:undeliverable'), id) end
end
local is_more = #late == MOST or #old == MOST
if redis.call('EXISTS', key('jobs:masks')) == 1 then
  local log = open_log(run, proposed)
  is_more = assign_jobs(log, now, MOST) or is_more
  trim(log, bounds, now)
  close_log(log)
end
local news = redis.call('LPOP', key('jobs:news'), MOST) or {}
return { is_more and 'more' or 'ok', unpack(news) }
