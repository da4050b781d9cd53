-- Removes a node whose lease has expired, with its sessions and their reports. Entries that it has not delivered go to
-- other sessions, or wait for the next one. Each call does a part; any node may continue where another stopped.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, victim, budget
--
-- Unheard entries are those that the log no longer has.
--
-- Returns { 'ok', sessions removed, unheard }, { 'more', sessions removed, unheard }, { 'alive' } or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }
local victim, budget = ARGV[8], tonumber(ARGV[9])

if not is_current(owner, fence) then return { 'fenced' } end
local now = now_ms()
local deadline = redis.call('ZSCORE', key('nodes'), victim)
if not deadline then return { 'ok', '0', '0' } end
if tonumber(deadline) >= now then return { 'alive' } end
-- From here on it cannot return under this name.
redis.call('ZADD', key('nodes'), -1, victim)
redis.call('HDEL', key('owners'), victim)

local removed = 0
for _, session in ipairs(redis.call('SRANDMEMBER', key('node:' .. victim), 64)) do
  if not forget(session, budget, now) then
    return { 'more', int(removed), '0' }
  end
  removed = removed + 1
end
if redis.call('EXISTS', key('node:' .. victim)) == 1 then
  return { 'more', int(removed), '0' }
end

local log = open_log(run, proposed)
local is_more, unheard = pass_on_pending(log, victim, '+inf', false, bounds.age, now)
trim(log, bounds, now)
close_log(log)
if is_more then return { 'more', int(removed), int(unheard) } end
redis.call('ZREM', key('nodes'), victim)
redis.call('DEL', key('parked:' .. victim))
return { 'ok', int(removed), int(unheard) }
