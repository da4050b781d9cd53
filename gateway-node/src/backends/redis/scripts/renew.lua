-- Renews a node's registration, trims the log, and returns the head of the log.
--
-- ARGV  run, proposed epoch, owner, fence, lease ms, entries, age ms, bytes, n,
--       then n epochs that this node has recently left, latest first, each with the last entry that it has seen of it,
--       then the positions from which it could continue, latest first: epoch, offset, ...
--
-- Returns { 'ok', epoch, top, kept, good, dirty, skipped, unheard, identity, told, lost * n, owner whose lease has
-- expired, ... } or { 'fenced' }.
--
-- kept     the offset after which the node continues in the current epoch: what it had beyond that is lost; `-` if none
--          of its positions is known any more
-- good     the last offset that has survived of its latest position's epoch, or `-`
-- skipped  the number of entries seen and lost in epochs after the first that it has left; the start of such an epoch
--          may be lost as well, so that its name is unknown
-- unheard  the number of entries that waited for a receiver until they were trimmed, since any node last asked
-- identity empty if the server has lost it
-- told     the counts that were broadcast last; empty if none were
-- lost     for each epoch that it has left, the highest offset that any node saw and the server has lost; 0 for none

local run, proposed, owner, fence, lease = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local bounds = { entries = tonumber(ARGV[6]), age = tonumber(ARGV[7]), bytes = tonumber(ARGV[8]) }
local count = tonumber(ARGV[9])
local positions = 10 + 2 * count

local deadline = redis.call('ZSCORE', key('nodes'), owner)
if not is_current(owner, fence) or not deadline or tonumber(deadline) < 0 then
  return { 'fenced' }
end
local now = now_ms()
redis.call('ZADD', key('nodes'), int(now + lease), owner)
redis.call('PEXPIRE', key('producer:' .. owner .. ':' .. fence), int(bounds.age + 60000))
local log = open_log(run, proposed)
-- If the node has delivered more than the log has, it received a forged message. A new epoch invalidates all such
-- positions before the log gives their offsets to entries.
if ARGV[positions] == log.epoch and tonumber(ARGV[positions + 1]) > log.top then begin_epoch(log, proposed) end
trim(log, bounds, now)
close_log(log)
unpark(owner)
local unheard = redis.call('HGET', key('log:head'), 'unheard')
if unheard then redis.call('HDEL', key('log:head'), 'unheard') end

local function good(epoch)
  if epoch == log.epoch then return log.top end
  return tonumber(redis.call('ZSCORE', key('log:epochs'), epoch) or '')
end

-- Records what this node has seen of epochs that it has left, for nodes that have not seen it.
local lost = {}
local first = nil
local is_news = false
for place = 10, positions - 1, 2 do
  local left, seen = ARGV[place], tonumber(ARGV[place + 1])
  local last = left ~= log.epoch and good(left)
  if last then
    local known = tonumber(redis.call('HGET', key('log:lost'), left) or 0)
    if seen > last and seen > known then
      known = seen
      redis.call('HSET', key('log:lost'), left, int(known))
      is_news = true
    end
    lost[#lost + 1] = int(known)
    first = left
  else
    lost[#lost + 1] = '0'
    if left ~= log.epoch then
      -- The start of the epoch is lost as well: what was seen of it came after the latest epoch that is still known.
      for position = positions, #ARGV, 2 do
        local epoch, offset = ARGV[position], tonumber(ARGV[position + 1])
        if epoch ~= log.epoch and good(epoch) then
          local known = tonumber(redis.call('HGET', key('log:lost'), epoch .. '+') or 0)
          redis.call('HSET', key('log:lost'), epoch .. '+', int(math.max(known, seen - offset)))
          is_news = is_news or seen - offset > known
          break
        end
      end
    end
  end
end

-- Another server may have accepted the entries now known to be lost while this epoch lasted. So a new epoch begins:
-- before a node delivers anything of it, it reads the head of the log and reports the loss to its sessions.
if is_news then
  if log.epoch ~= proposed then begin_epoch(log, proposed) end
  redis.call('HSET', key('log:head'), 'lost_in', log.epoch)
end

local kept = '-'
for place = positions, #ARGV, 2 do
  local last = good(ARGV[place])
  if last then
    kept = int(math.min(last, tonumber(ARGV[place + 1])))
    break
  end
end
local still_good = good(ARGV[positions] or '-')

local skipped = 0
if first then
  local order = tonumber(redis.call('HGET', key('log:order'), first) or 0)
  local losses = redis.call('HGETALL', key('log:lost'))
  for place = 1, #losses, 2 do
    local between, mark = string.match(losses[place], '^(%x+)(%+?)$')
    local position = tonumber(redis.call('HGET', key('log:order'), between) or 0)
    if mark == '+' and position >= order then
      skipped = skipped + tonumber(losses[place + 1])
    elseif mark == '' and position > order then
      skipped = skipped + math.max(0, tonumber(losses[place + 1]) - (good(between) or 0))
    end
  end
end

local answer = { 'ok', log.epoch, int(log.top), kept, still_good and int(still_good) or '-',
  redis.call('HGET', key('log:head'), 'dirty') or '0', int(skipped), unheard or '0', log.identity or '',
  redis.call('HGET', key('log:head'), 'told') or '' }
for _, offset in ipairs(lost) do
  answer[#answer + 1] = offset
end
-- Nodes that are being reaped have -1.
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', key('nodes'), '-inf', '(' .. int(now), 'LIMIT', 0, 8)) do
  answer[#answer + 1] = dead
end
return answer
