-- Lists jobs, at most 1,000. Ends after the job with which their data reach the bytes.
--
-- ARGV  state (`-` for any), limit, bytes
--
-- Returns id, name, data, state, attempts and ms of each job, one after the other.

local state, limit = ARGV[1], tonumber(ARGV[2])
local most_bytes, bytes = tonumber(ARGV[3]), 0
local jobs = {}

local function list(name)
  local ids = redis.call('ZRANGE', key(name), 0, limit - #jobs / 6 - 1)
  for _, id in ipairs(ids) do
    if bytes >= most_bytes then return end
    local job = redis.call('HMGET', key('job:' .. id), 'name', 'd', 'state', 'attempts', 'at')
    if job[1] then
      bytes = bytes + #job[2]
      for _, value in ipairs({ id, job[1], job[2], job[3], job[4], job[5] }) do jobs[#jobs + 1] = value end
    end
  end
end

if state == 'waiting' or state == '-' then
  for _, mask in ipairs(redis.call('SMEMBERS', key('jobs:masks'))) do
    if #jobs < limit * 6 then list('jobs:waiting:' .. mask) end
  end
end
for _, other in ipairs({ 'delivered', 'undeliverable' }) do
  if (state == other or state == '-') and #jobs < limit * 6 then list('jobs:' .. other) end
end
return jobs
