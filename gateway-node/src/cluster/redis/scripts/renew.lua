-- Renews a node's registration, keeps the log within its bounds, and looks around.
--
-- ARGV  run, proposed epoch, owner, fence, lease ms, entries, age ms, bytes,
--       epoch, offset: the last entry that this node has seen of an epoch that it has left, or `-` and 0,
--       then the positions from which it could go on, latest first: epoch, offset, ...
--
-- Answers { 'ok', epoch, top, kept, good, lost, skipped, dirty, owner whose lease has ended, ... } or { 'fenced' }.
--
-- kept     the offset behind which the node goes on in the current epoch: what it had beyond that is gone; `-` when none
--          of its positions is known any more
-- good     the last offset of its latest position's epoch that is still good, or `-`
-- lost     of the epoch that it has left, the last offset that any node has seen and that is gone; 0 for none
-- skipped  how many entries were seen, and are gone, of epochs between that one and the current one; the beginning of
--          such an epoch may be gone as well, so that nobody can name it any more

local run, proposed, owner, fence, lease = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local bounds = { entries = tonumber(ARGV[6]), age = tonumber(ARGV[7]), bytes = tonumber(ARGV[8]) }
local left, seen = ARGV[9], tonumber(ARGV[10])

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

local function good(epoch)
  if epoch == log.epoch then return log.top end
  return tonumber(redis.call('ZSCORE', key('log:epochs'), epoch) or '')
end

local kept = '-'
for place = 11, #ARGV, 2 do
  local last = good(ARGV[place])
  if last then
    kept = int(math.min(last, tonumber(ARGV[place + 1])))
    break
  end
end

local still_good = good(ARGV[11] or '-')
local lost, skipped = 0, 0
local last = left ~= '-' and left ~= log.epoch and good(left)
if not last and left ~= '-' and left ~= log.epoch then
  -- Its beginning is gone as well: what was seen of it came after the latest epoch that is still known.
  for place = 11, #ARGV, 2 do
    local epoch, offset = ARGV[place], tonumber(ARGV[place + 1])
    if epoch ~= log.epoch and good(epoch) then
      local known = tonumber(redis.call('HGET', key('log:lost'), epoch .. '+') or 0)
      redis.call('HSET', key('log:lost'), epoch .. '+', int(math.max(known, seen - offset)))
      break
    end
  end
end
if last then
  lost = tonumber(redis.call('HGET', key('log:lost'), left) or 0)
  if seen > last and seen > lost then
    lost = seen
    redis.call('HSET', key('log:lost'), left, int(lost))
  end
  local order = tonumber(redis.call('HGET', key('log:order'), left) or 0)
  local losses = redis.call('HGETALL', key('log:lost'))
  for place = 1, #losses, 2 do
    local between, count = string.match(losses[place], '^(%x+)(%+?)$')
    local position = tonumber(redis.call('HGET', key('log:order'), between) or 0)
    if count == '+' and position >= order then
      skipped = skipped + tonumber(losses[place + 1])
    elseif count == '' and position > order then
      skipped = skipped + math.max(0, tonumber(losses[place + 1]) - (good(between) or 0))
    end
  end
end

local answer = { 'ok', log.epoch, int(log.top), kept, still_good and int(still_good) or '-', int(lost),
  int(skipped), redis.call('HGET', key('log:head'), 'dirty') or '0' }
-- Those that are being reaped have -1.
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', key('nodes'), '-inf', '(' .. int(now), 'LIMIT', 0, 8)) do
  answer[#answer + 1] = dead
end
return answer
