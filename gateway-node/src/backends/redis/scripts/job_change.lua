-- Removes a job, or delivers it again with all of its attempts.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, job, `remove` or `retry`
--
-- Returns { 'ok' }, or { 'none' } if there is no such job, or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }
local id = ARGV[8]

if not is_current(owner, fence) then return { 'fenced' } end
local job = redis.call('HMGET', key('job:' .. id), 'mask', 'state', 'session')
if not job[1] then return { 'none' } end
local now = now_ms()
if ARGV[9] == 'remove' then
  remove_job(id)
else
  redis.call('ZREM', key('jobs:delivered'), id)
  redis.call('ZREM', key('jobs:undeliverable'), id)
  redis.call('HSET', key('job:' .. id), 'attempts', 0)
  if job[2] == 'delivered' then free_place(id, job[3]) end
  let_wait(id, job[1], now)
end
local log = open_log(run, proposed)
assign_jobs(log, now, 64)
trim(log, bounds, now)
close_log(log)
return { 'ok' }
