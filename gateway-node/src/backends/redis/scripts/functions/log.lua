-- The log: opening it, appending to it, trimming it.

-- Ends the log's epoch at its last entry and begins a new one, named `proposed`.
local function begin_epoch(log, proposed)
  if log.epoch then
    -- Entries that an earlier epoch had beyond this offset are lost from it as well.
    for _, earlier in ipairs(redis.call('ZRANGEBYSCORE', key('log:epochs'), '(' .. int(log.top), '+inf')) do
      redis.call('ZADD', key('log:epochs'), int(log.top), earlier)
    end
    redis.call('ZADD', key('log:epochs'), int(log.top), log.epoch)
  end
  log.epoch = proposed
  redis.call('HSET', key('log:order'), proposed, redis.call('HINCRBY', key('log:head'), 'lives', 1))
  redis.call('HSET', key('log:head'), 'epoch', proposed)
end

-- Whether a loss became known after this epoch had ended. Sessions that were connected at that moment were closed, so a
-- session whose position is in such an epoch has not learned of the loss.
local function is_before_a_loss(epoch)
  local lost_in = redis.call('HGET', key('log:head'), 'lost_in')
  if not lost_in then return false end
  local orders = redis.call('HMGET', key('log:order'), epoch, lost_in)
  return orders[1] and orders[2] and tonumber(orders[1]) < tonumber(orders[2])
end

-- The highest id that the stream has assigned, as text: it may exceed what a Lua number can hold.
local function last_id()
  if redis.call('EXISTS', key('log')) == 0 then return '0-0' end
  local about = redis.call('XINFO', 'STREAM', key('log'))
  for place = 1, #about, 2 do
    if about[place] == 'last-generated-id' then return about[place + 1] end
  end
end

-- Deletes entries that another program has added after the log's last entry, and resets the stream's last id. Nodes
-- never read beyond the log's last entry, so none of these was delivered.
local function expel(log)
  local last = int(log.top) .. '-0'
  while true do
    local found = redis.call('XRANGE', key('log'), '(' .. last, '+', 'COUNT', 100)
    if #found == 0 then break end
    local ids = {}
    for place, entry in ipairs(found) do ids[place] = entry[1] end
    redis.call('XDEL', key('log'), unpack(ids))
  end
  -- Since Redis 7 a stream remembers the highest id that was deleted, and newer servers refuse one below it.
  local set = redis.pcall('XSETID', key('log'), last, 'ENTRIESADDED', int(log.top), 'MAXDELETEDID', last)
  if set.err then redis.call('XSETID', key('log'), last) end
  redis.call('HSET', key('log:head'), 'expelled_in', log.proposed)
end

-- How often a new epoch may begin because of entries of another program, in ms.
local EXPULSION = 60000

-- Appends an entry that the server has refused. If another program has added entries with higher ids, they are deleted,
-- and a new epoch begins after the log's last entry, which informs the nodes. If the program continues, one epoch per
-- minute is enough. Only the first append of a script can find such entries.
local function make_way(log, offset, body, now)
  local before = tonumber(offset) - 1
  log.top = before
  if tonumber(string.match(last_id(), '^%d+')) > before then
    expel(log)
    if now - tonumber(redis.call('HGET', key('log:head'), 'expelled_at') or 0) >= EXPULSION then
      redis.call('HSET', key('log:head'), 'expelled_at', int(now))
      begin_epoch(log, log.proposed)
    end
  end
  log.top = before + 1
  redis.call('XADD', key('log'), offset .. '-0', 'e', body)
end

-- Entries beyond this offset are not the log's own. Up to it, offsets can be incremented exactly.
local HIGHEST = 2 ^ 52

-- Finds the last entry of the log in a stream that may have more than its head says: offsets continue after the highest
-- one ever used.
local function find_top(log)
  local last = tonumber(string.match(last_id(), '^%d+'))
  if not log.epoch then
    -- The head is lost: only the entries are known.
    local found = redis.call('XREVRANGE', key('log'), int(HIGHEST), '-', 'COUNT', 1)
    log.top = last <= HIGHEST and last or tonumber(found[1] and string.match(found[1][1], '^%d+') or 0)
  elseif last > log.top then
    -- A server that was killed in the middle of a script's writes can come back with half of them: entries without a
    -- gap.
    local is_own = true
    while is_own do
      local found = redis.call('XRANGE', key('log'), int(log.top + 1), '+', 'COUNT', 100)
      is_own = #found > 0
      for _, entry in ipairs(found) do
        is_own = is_own and entry[1] == int(log.top + 1) .. '-0'
        if is_own then log.top = log.top + 1 end
      end
    end
  end
  if last > log.top then expel(log) end
end

-- Opens the log on the server run whose `run_id` is `run`. If another run wrote it, a new epoch, named `proposed`,
-- begins at the offset that survived.
local function open_log(run, proposed)
  local head = redis.call('HMGET', key('log:head'), 'run', 'epoch', 'top', 'bytes', 'count', 'since', 'trimmed', 'held',
    'identity')
  local log = {
    epoch = head[2],
    identity = head[9],
    stream = key('log'),
    channel = head[9] and key('events:' .. head[9]),
    top = tonumber(head[3] or 0),
    -- The open segment.
    bytes = tonumber(head[4] or 0),
    count = tonumber(head[5] or 0),
    since = tonumber(head[6] or 0),
    -- The last offset that has been trimmed, and the bytes of the closed segments that remain.
    trimmed = tonumber(head[7] or 0),
    held = tonumber(head[8] or 0),
    -- Whether a segment has been begun, closed or trimmed by this call.
    has_new_segment = false,
    -- The name of the next epoch.
    proposed = proposed,
  }
  if head[1] ~= run then
    local is_new = not log.epoch
    if not is_new then begin_epoch(log, proposed) end
    find_top(log)
    if is_new then begin_epoch(log, proposed) end
    redis.call('HSET', key('log:head'), 'run', run, 'top', int(log.top))
  end
  return log
end

local function close_segment(log, now)
  redis.call('RPUSH', key('log:segments'), int(log.top) .. ' ' .. int(log.bytes) .. ' ' .. int(now))
  log.held = log.held + log.bytes
  log.bytes = 0
  log.count = 0
  log.has_new_segment = true
end

-- Removes the oldest segments until the log is within its bounds. Each bound is accurate to a 64th.
local function trim(log, bounds, now)
  if log.count > 0 and (log.count >= bounds.entries / 64 or log.bytes >= bounds.bytes / 64
      or now - log.since >= bounds.age / 64) then
    close_segment(log, now)
  end
  local last = nil
  while true do
    local oldest = redis.call('LINDEX', key('log:segments'), 0)
    if not oldest then break end
    local top, bytes, closed = string.match(oldest, '^(%d+) (%d+) (%d+)$')
    if log.top - log.trimmed <= bounds.entries and log.held + log.bytes <= bounds.bytes
        and now - tonumber(closed) <= bounds.age then
      break
    end
    redis.call('LPOP', key('log:segments'))
    log.held = log.held - tonumber(bytes)
    log.trimmed = tonumber(top)
    log.has_new_segment = true
    last = log.trimmed
  end
  if last then
    redis.call('XTRIM', key('log'), 'MINID', int(last + 1) .. '-0')
    local unheard = redis.call('ZREMRANGEBYSCORE', key('waiting'), '-inf', int(last))
    if unheard > 0 then redis.call('HINCRBY', key('log:head'), 'unheard', unheard) end
    -- No session can continue from an epoch whose last surviving entry has been trimmed.
    for _, epoch in ipairs(redis.call('ZRANGEBYSCORE', key('log:epochs'), '-inf', '(' .. int(last))) do
      redis.call('ZREM', key('log:epochs'), epoch)
      redis.call('HDEL', key('log:order'), epoch)
      redis.call('HDEL', key('log:lost'), epoch, epoch .. '+')
    end
  end
end

-- Publishes a message on the channel. Without an identity, no node would accept it.
local function broadcast(identity, message)
  if not identity then return 0 end
  return redis.call('PUBLISH', key('events:' .. identity), identity .. ' ' .. message)
end

-- Appends an entry and publishes it to the nodes.
local function put(log, body, now)
  log.top = log.top + 1
  local offset = int(log.top)
  local added = redis.pcall('XADD', log.stream, offset .. '-0', 'e', body)
  if type(added) == 'table' and added.err then make_way(log, offset, body, now) end
  if log.channel then
    redis.call('PUBLISH', log.channel, log.identity .. ' ' .. log.epoch .. ' ' .. offset .. '\n' .. body)
  end
  if log.count == 0 then
    log.since = now
    log.has_new_segment = true
  end
  log.count = log.count + 1
  log.bytes = log.bytes + #body
end

-- Appends an entry. `first` is the offset at which the event was appended first, if this is a later time, and `trace` the
-- trace that it belongs to, if it does.
local function append(log, head, name, d, now, first, trace)
  local later = trace and ' ' .. (first or '0') .. ' ' .. trace or first and ' ' .. first or ''
  put(log, head .. ' ' .. #name .. ' ' .. int(now) .. later .. '\n' .. name .. d, now)
end

local function close_log(log)
  local top, bytes, count = int(log.top), int(log.bytes), int(log.count)
  if not log.has_new_segment then
    redis.call('HSET', key('log:head'), 'top', top, 'bytes', bytes, 'count', count)
  else
    redis.call('HSET', key('log:head'), 'top', top, 'bytes', bytes, 'count', count, 'since', int(log.since),
      'trimmed', int(log.trimmed), 'held', int(log.held))
  end
end
