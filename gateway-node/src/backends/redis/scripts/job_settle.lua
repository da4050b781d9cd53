-- Ends a delivery of a job: it is done, or is to be delivered again.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, key, job, number of the delivery, `ack` or the ms after
--       which it is delivered again
--
-- Returns { 'ok' }, or { 'over' } if no worker with this key was given the job, or if it is done with; or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }
local of_key, id, number, verdict = ARGV[8], ARGV[9], ARGV[10], ARGV[11]

if not is_current(owner, fence) then return { 'fenced' } end
local job = redis.call('HMGET', key('job:' .. id), 'k:' .. number, 'state', 'number', 'session')
if job[1] ~= of_key then return { 'over' } end
local now = now_ms()
if verdict == 'ack' then
  remove_job(id)
else
  if job[2] ~= 'delivered' or job[3] ~= number then return { 'over' } end
  take_back(id, now + tonumber(verdict), now)
  free_place(id, job[4])
end
local log = open_log(run, proposed)
assign_jobs(log, now, 64)
trim(log, bounds, now)
close_log(log)
return { 'ok' }
