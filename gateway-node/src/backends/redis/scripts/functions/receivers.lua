-- The receivers of an event, and entries addressed to them.

-- Appends an entry for one session of several.
local function append_for_one(log, entry, session, owner, now)
  local receivers = session .. '@' .. owner
  append(log, table.concat({ 'o', entry.mask, entry.author, receivers, entry.label }, ' '), entry.name, entry.d, now,
    entry.first, entry.trace)
  redis.call('ZADD', key('pending:' .. owner), int(log.top), int(log.top))
end

-- Appends an entry for the sessions that reported a guild. `owners` are the names of their nodes, each once.
local function append_for_guild(log, entry, sessions, owners, now)
  local receivers = table.concat({ table.concat(sessions, ','), table.concat(owners, ','), entry.guild }, '@')
  append(log, table.concat({ 's', entry.mask, entry.author, receivers, entry.label }, ' '), entry.name, entry.d, now,
    entry.first, entry.trace)
  for _, owner in ipairs(owners) do
    redis.call('ZADD', key('pending:' .. owner), int(log.top), int(log.top))
  end
  if #owners > 1 then redis.call('HSET', key('undelivered'), int(log.top), #owners) end
end

-- Whether `sessions` contains a session; each id is enclosed in commas.
local function names(sessions, session)
  return string.find(sessions, ',' .. session .. ',', 1, true) ~= nil
end

-- Returns the sessions that reported a guild and may receive an entry, their owners, and whether one of the owners is
-- alive. Excludes sessions in `ended` (if given, each id enclosed in commas), which are about to be removed.
local function reporters_of(guild, mask, author, ended, now)
  local sessions, owners, known, is_any_alive = {}, {}, {}, false
  for session in string.gmatch(redis.call('HGET', key('guilds'), guild) or '', '%S+') do
    local kind, owner = kind_and_owner(session)
    if kind and session ~= author and not (ended and names(ended, session)) and is_in(mask, kind) then
      sessions[#sessions + 1] = session
      if not known[owner] then
        known[owner] = true
        owners[#owners + 1] = owner
        is_any_alive = is_any_alive or is_alive(owner, now)
      end
    end
  end
  return sessions, owners, is_any_alive
end

-- Returns whether sessions of these kinds, other than the author, watch a guild, and whether a node of one is alive.
local function watchers_of(guild, mask, author, now)
  if bit.band(mask, bit.bnot(bit.lshift(1, BOT))) == 0 then return false, false end
  local found, own = redis.call('HGETALL', key('watchers:' .. guild)), nil
  if #found > 0 and author ~= '-' and redis.call('SISMEMBER', key('report:' .. author), guild) == 1 then
    own = redis.call('HGET', key('sessions'), author)
  end
  local is_any = false
  for place = 1, #found, 2 do
    local kind, owner = string.match(found[place], '^(%d+) (.+)$')
    local others = tonumber(found[place + 1]) - (found[place] == own and 1 or 0)
    if others > 0 and is_in(mask, tonumber(kind) % TICKET) then
      is_any = true
      if is_alive(owner, now) then return true, true end
    end
  end
  return is_any, false
end

-- Stores an entry without a receiver for the next session that may receive it, for as long as the log has it.
local function keep_waiting(log, entry, offset, age)
  local queue = key('waiting:' .. (entry.guild or 'any') .. ':' .. entry.mask)
  redis.call('ZREMRANGEBYSCORE', queue, '-inf', int(log.trimmed))
  redis.call('ZADD', queue, offset, offset)
  redis.call('PEXPIRE', queue, int(age + 60000))
  redis.call('ZADD', key('waiting'), offset, offset)
  redis.call('SADD', key('waiting:masks'), entry.mask)
end
