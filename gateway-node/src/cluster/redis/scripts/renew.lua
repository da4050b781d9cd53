-- Renews a node's registration, keeps the log within its bounds, and looks around.
--
-- ARGV  run, proposed epoch, owner, fence, lease ms, entries, age ms, bytes, epoch, offset
--       the last two are the highest position that this node has seen: of the current epoch or an earlier one, or `-`
--
-- Answers { 'ok', epoch, top, kept, lost, dirty, owner whose lease has ended, ... } or { 'fenced' }. Of the epoch that
-- was given, `kept` is the last offset that is still good (0 where it was forgotten), and `lost` the last one that any
-- node has seen beyond that (0 for none).

local run, proposed, owner, fence, lease = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local bounds = { entries = tonumber(ARGV[6]), age = tonumber(ARGV[7]), bytes = tonumber(ARGV[8]) }
local earlier, seen = ARGV[9], tonumber(ARGV[10])

local deadline = redis.call('ZSCORE', key('nodes'), owner)
if not is_current(owner, fence) or not deadline or tonumber(deadline) < 0 then
  return { 'fenced' }
end
local now = now_ms()
redis.call('ZADD', key('nodes'), int(now + lease), owner)
redis.call('PEXPIRE', key('producer:' .. owner .. ':' .. fence), int(bounds.age + 60000))
local log = open_log(run, proposed)
trim(log, bounds, now)
close_log(log)

local kept, lost = log.top, 0
if earlier ~= '-' and earlier ~= log.epoch then
  kept = tonumber(redis.call('ZSCORE', key('log:epochs'), earlier) or 0)
  lost = tonumber(redis.call('HGET', key('log:lost'), earlier) or 0)
  if seen > kept and seen > lost then
    lost = seen
    redis.call('HSET', key('log:lost'), earlier, int(lost))
    redis.call('PEXPIRE', key('log:lost'), int(bounds.age))
  end
end

local answer = { 'ok', log.epoch, int(log.top), int(kept), int(lost),
  redis.call('HGET', key('log:head'), 'dirty') or '0' }
-- Those that are being reaped have -1.
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', key('nodes'), '-inf', '(' .. int(now), 'LIMIT', 0, 8)) do
  answer[#answer + 1] = dead
end
return answer
