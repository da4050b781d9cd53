-- Entries that are given to other sessions.

-- Reads an entry addressed to specific sessions, or returns nil if the log does not have it. It is appended again as a
-- different entry, not as a repetition, so its label has no origin.
local function read_entry(offset)
  local found = redis.call('XRANGE', key('log'), offset .. '-0', offset .. '-0')
  if not found[1] then return nil end
  local head, rest = string.match(found[1][2][2], '^([^\n]*)\n(.*)$')
  local audience, mask, author, receivers, label, size, later =
    string.match(head or '', '^([os]) (%d+) (%S+) (%S+) (%S+) (%d+)(.*)$')
  if not audience then return nil end
  local sessions, owners, guild = string.match(receivers, '^([%d,]+)@([^@]+)@?(%d*)$')
  if not sessions then return nil end
  local first, trace = string.match(later, '^ %d+ (%d+) ?(%S*)')
  return {
    mask = tonumber(mask),
    author = author,
    -- The user who sent it stays known.
    label = '-' .. (string.match(label, '~%x+') or ''),
    sessions = ',' .. sessions .. ',',
    is_of_several_owners = string.find(owners, ',', 1, true) ~= nil,
    guild = audience == 's' and guild or nil,
    first = first ~= '0' and first or offset,
    trace = trace ~= '' and trace or nil,
    name = string.sub(rest, 1, tonumber(size)),
    d = string.sub(rest, tonumber(size) + 1),
  }
end

-- Gives back an entry that an owner has not delivered: it goes to other sessions, or waits for one. Returns false if
-- the log no longer has it. Either its one session has ended (`has_ended`), or the node has, and may already be back.
local function pass_on(log, offset, has_ended, age, now)
  local entry = read_entry(offset)
  if not entry then
    redis.call('HDEL', key('undelivered'), offset)
    return false
  end
  if not entry.guild then
    local gone = has_ended and string.match(entry.sessions, '%d+') or '-'
    local chosen, owner = choose(entry.mask, entry.author, gone, now)
    if chosen then
      append_for_one(log, entry, chosen, owner, now)
    else
      keep_waiting(log, entry, offset, age)
    end
    return true
  end
  if entry.is_of_several_owners then
    -- Another owner has delivered it, or still may.
    if redis.call('HEXISTS', key('undelivered'), offset) == 0 then return true end
    if redis.call('HINCRBY', key('undelivered'), offset, -1) > 0 then return true end
    redis.call('HDEL', key('undelivered'), offset)
  end
  local sessions, owners = reporters_of(entry.guild, entry.mask, entry.author, has_ended and entry.sessions, now)
  for _, session in ipairs(sessions) do
    -- Its node was considered dead and is back; it reads this entry itself.
    if names(entry.sessions, session) then return true end
  end
  if #sessions > 0 then
    append_for_guild(log, entry, sessions, owners, now)
  else
    keep_waiting(log, entry, offset, age)
  end
  return true
end

-- The maximum number of entries of an owner that one call gives back.
local MOST_GIVEN_UP = 64

-- Gives back the oldest entries that an owner has not delivered, up to an offset. Returns whether there may be more,
-- and how many of them the log no longer has.
local function pass_on_pending(log, owner, up_to, has_ended, age, now)
  local pending, unheard = key('pending:' .. owner), 0
  local offsets = redis.call('ZRANGEBYSCORE', pending, '-inf', up_to, 'LIMIT', 0, MOST_GIVEN_UP)
  for _, offset in ipairs(offsets) do
    if not pass_on(log, offset, has_ended, age, now) then unheard = unheard + 1 end
    redis.call('ZREM', pending, offset)
  end
  return #offsets == MOST_GIVEN_UP, unheard
end

-- The maximum number of waiting entries that one call gives to a session.
local MOST_GIVEN = 64

-- Gives a session waiting entries for `any` (`guild` is nil) or for a guild, oldest first, at most `budget`. Returns
-- the remaining budget, or nil if there are more entries.
local function give_waiting(log, guild, session, kind, owner, budget, now)
  local queues = {}
  for _, mask in ipairs(redis.call('SMEMBERS', key('waiting:masks'))) do
    if is_in(tonumber(mask), kind) then
      queues[#queues + 1] = { name = key('waiting:' .. (guild or 'any') .. ':' .. mask), from = '-inf' }
    end
  end
  while true do
    local oldest, queue = nil, nil
    for _, candidate in ipairs(queues) do
      local head = redis.call('ZRANGEBYSCORE', candidate.name, candidate.from, '+inf', 'LIMIT', 0, 1)[1]
      if head and (not oldest or tonumber(head) < tonumber(oldest)) then oldest, queue = head, candidate end
    end
    if not oldest then return budget end
    if budget == 0 then return nil end
    budget = budget - 1
    local entry = read_entry(oldest)
    if entry and entry.author == session then
      queue.from = '(' .. oldest
    else
      redis.call('ZREM', queue.name, oldest)
      redis.call('ZREM', key('waiting'), oldest)
      if entry and not guild then
        append_for_one(log, entry, session, owner, now)
      elseif entry and not names(entry.sessions, session) then
        append_for_guild(log, entry, { session }, { owner }, now)
      end
    end
  end
end

local function is_anything_waiting()
  return redis.call('EXISTS', key('waiting')) == 1
end
