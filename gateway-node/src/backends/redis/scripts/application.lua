-- The functions shared by the scripts of one application. This file is prepended to each of them.
--
-- KEYS[1]  the prefix of every key of the application; all of them are in one slot
--
-- log                  stream, one entry `<offset>-0` with the field `e`: a head line, the event's name, its data
-- log:head             hash: run, epoch, lives (number of epochs), top, the open segment, trimmed, dirty, told, totals,
--                      turn, requests (how many were given to a session), identity, jobs and jobs_bytes; unheard: the number of entries
--                      that waited for a receiver until they were trimmed; expelled_in: the epoch that began because another program had added entries, and
--                      expelled_at: when, in ms; lost_in: the epoch that began when a loss last became known
-- log:segments         list, oldest first: `<last offset> <bytes> <ms>` of each closed segment, for trimming
-- log:epochs           sorted set: earlier epochs by their last offset that has survived
-- log:order            hash: the ordinal of each epoch
-- log:lost             hash: for an earlier epoch, the highest offset that some node saw and the server has lost; with
--                      a + after its name, the number of entries lost in later epochs whose start is lost too
-- order:<id>           set: the owners of the nodes that have executed a command for all sessions; it expires
-- owners               hash: the fence of each node's registration, by owner name
-- nodes                sorted set: owners by the ms at which their lease expires; -1 while one is being reaped
-- node:<owner>         set: the owner's sessions
-- sessions             hash: `<kind> <owner>` by session; the kind of a session with a ticket is 8 more
-- turn:<kind>          sorted set: the ready sessions of a kind, by the turn in which they were chosen last; those in
--                      `parked` come after all others
-- parked:<owner>       set: sessions of the owner whose turn came while its lease had expired
-- pending:<owner>      sorted set: offsets of entries addressed to sessions of the owner, or to some of them, that it
--                      has not delivered
-- undelivered          hash, by offset: for a pending entry addressed to sessions of several owners, of which none has
--                      delivered it, the number of owners that have not given it back
-- waiting              sorted set: offsets of entries whose receivers all ended before they received them
-- waiting:<delivery>:<mask>  sorted set: those for `any` or for one guild, by the types that may receive them; it
--                      expires
-- waiting:masks        set: the masks of those
-- guilds               hash, by guild: the bots that reported it, each followed by a space
-- report:<session>     set: the guilds that a bot reported, or that another session watches; if it has a ticket, also
--                      `tickets`, and the user of the ticket as `u<hex>`
-- watchers:<guild>     hash, by `<kind> <owner>`: how many sessions of the owner watch it; also by user, and
--                      for `tickets`
-- values               hash: `<count> <members> <cached>` by session
-- sums                 hash: the sums of the values, each in two halves
-- staging              sorted set: sessions whose report is partly added or removed, by the ms at which they stop
--                      counting as such
-- workers              hash: `<places> <key>` of each session that takes jobs
-- workers:<kind>       sorted set: the ready workers of a kind that have free places, by the turn in which they were
--                      chosen last
-- held:<session>       set: the jobs that a worker has
-- job:<id>             hash: a job. name, d, mask, author, user (as in a label), trace, timeout (ms), most (attempts at most),
--                      attempts, number (of the last delivery), at (ms), bytes, state (`waiting`, `delivered` or
--                      `undeliverable`), session (that had it last); the key of the worker as `k:<number>` for each
--                      delivery
-- jobs:waiting:<mask>  sorted set: the jobs that wait, by the ms from which they can be delivered
-- jobs:masks           set: the masks of those
-- jobs:delivered       sorted set: the jobs that a worker has, by the ms of the deadline
-- jobs:undeliverable   sorted set: the jobs whose attempts are used up, by the ms since when they are
-- jobs:news            list: `<id> <name>` of jobs that have become undeliverable, until a node has logged it
-- producer:<owner>:<fence>  hash: the results of the latest publications
-- request:<key>        string: the result of a request with an idempotency key
-- requests             sorted set: the idempotency keys by the ms at which they expire, to count them
-- discord:<session>    hash: what a Discord session identified with (record, key, version); its fencing token
--                      (generation); its checkpoint (s, epoch, offset); the ms of each close for slow reading (cuts);
--                      of its private events the bytes stored (bytes), the last sequence number (last), and the last
--                      one discarded (forgotten). Once the session has ended: generation and ended. It expires unless
--                      its owner keeps reporting that it is connected
-- discord:<session>:private  list: `<s> <name>\n<data>` of its private events after the checkpoint
-- discord:<session>:voice    hash: the event that undoes its voice state, by guild
-- discord:deadlines    sorted set: Discord sessions by the ms until which they can be resumed
-- discord:covers       hash: `<user> <id> <count>` by session: the bot user and the shard of each session that has
--                      not ended
-- discord:covers:<user>  hash: the number of those that have each shard, by `<id> <count>`
-- discord:presences:<user>  hash: the digest of the user's published presence, by guild
-- discord:voices:<user>     hash: the session that published the user's voice state, by guild
-- discord:over         list: `<session> <user> <id> <count> <cursor>` of ended sessions whose presence and voice states
--                      are not undone yet
-- guild:<id>           list: the snapshot of a Discord guild, then `<name>\n<data>` of each event that has changed it
--                      since
-- guild:state          hash: `<generation> <bytes of the snapshot> <bytes of the events since>` by guild; a generation
--                      starts when events are folded into the snapshot
-- guild:order          sorted set: the guilds, as 20 digits each
-- guild:long           set: guilds whose events are to be folded
-- discord:starts:<n>   string: how many sessions of shards with this remainder were started in the current window
-- discord:starts       string: how many sessions were started in the current day

-- Channels: pub/sub ignores database numbers, so nodes of different databases receive each other's messages on a
-- channel of the same name. Therefore the name of the only channel, `events:<identity>`, and every message on it carry
-- the identity: a random name and the number of the database, created by the first node that registers (register.lua).

local base = KEYS[1]

local function key(name)
  return base .. name
end

-- Formats a number for Redis: as an integer in full.
local function int(number)
  -- The sum removes the sign of a negative zero.
  return string.format('%.0f', number + 0)
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Whether the caller is the latest registration under its name. Commands of older connections are refused.
local function is_current(owner, fence)
  return redis.call('HGET', key('owners'), owner) == fence
end

-- ---- the log -----------------------------------------------------------------------------------------------------

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
    top = tonumber(head[3] or 0),
    -- The open segment.
    bytes = tonumber(head[4] or 0),
    count = tonumber(head[5] or 0),
    since = tonumber(head[6] or 0),
    -- The last offset that has been trimmed, and the bytes of the closed segments that remain.
    trimmed = tonumber(head[7] or 0),
    held = tonumber(head[8] or 0),
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

-- Appends one entry and publishes it to the nodes. `first` is the offset at which the event was appended first, if this
-- is a later time, and `trace` the trace that it belongs to, if it does.
local function append(log, head, name, d, now, first, trace)
  log.top = log.top + 1
  local offset = int(log.top)
  local later = trace and ' ' .. (first or '0') .. ' ' .. trace or first and ' ' .. first or ''
  local body = head .. ' ' .. #name .. ' ' .. int(now) .. later .. '\n' .. name .. d
  local added = redis.pcall('XADD', key('log'), offset .. '-0', 'e', body)
  if type(added) == 'table' and added.err then make_way(log, offset, body, now) end
  broadcast(log.identity, log.epoch .. ' ' .. offset .. '\n' .. body)
  if log.count == 0 then log.since = now end
  log.count = log.count + 1
  log.bytes = log.bytes + #body
end

local function close_log(log)
  redis.call('HSET', key('log:head'), 'top', int(log.top), 'bytes', int(log.bytes), 'count', int(log.count),
    'since', int(log.since), 'trimmed', int(log.trimmed), 'held', int(log.held))
end

-- ---- choice of sessions ------------------------------------------------------------------------------------------

-- The kind of bots, whose reports are counted.
local BOT = 0
-- What is added to the kind of a session that has a ticket.
local TICKET = 8

local function kind_and_owner(session)
  local record = redis.call('HGET', key('sessions'), session)
  if not record then return nil end
  local kind, owner = string.match(record, '^(%d+) (.+)$')
  return tonumber(kind), owner
end

-- Gives a session its first turn, after all others.
local function enter(session, kind)
  if not redis.call('ZSCORE', key('turn:' .. kind), session) then
    redis.call('ZADD', key('turn:' .. kind), redis.call('HINCRBY', key('log:head'), 'turn', 1), session)
  end
end

local function is_in(mask, kind)
  return bit.band(mask, bit.lshift(1, kind)) ~= 0
end

local function is_alive(owner, now)
  return tonumber(redis.call('ZSCORE', key('nodes'), owner) or -1) >= now
end

-- The turns of parked sessions start here, after all others.
local PARKED = 4503599627370496
-- The maximum number of sessions that one choice parks.
local MOST_PARKED = 256

-- Chooses the next session of these kinds in turn. Returns the session, its owner, and whether it is known that no node
-- with a session of these kinds is alive; then the session belongs to a node whose lease has expired. Returns nil if
-- there is no session.
local function choose(mask, author, gone, now)
  local parked, parked_owner = nil, nil
  for _ = 1, MOST_PARKED do
    local chosen, lowest, chosen_kind = nil, nil, nil
    for kind = 0, 7 do
      if is_in(mask, kind) then
        local first = redis.call('ZRANGE', key('turn:' .. kind), 0, 2, 'WITHSCORES')
        for place = 1, #first, 2 do
          if first[place] ~= author and first[place] ~= gone then
            local turn = tonumber(first[place + 1])
            if not lowest or turn < lowest then
              chosen, lowest, chosen_kind = first[place], turn, kind
            end
            break
          end
        end
      end
    end
    if not chosen then return nil end
    local _, owner = kind_and_owner(chosen)
    local turn = redis.call('HINCRBY', key('log:head'), 'turn', 1)
    if is_alive(owner, now) then
      redis.call('ZADD', key('turn:' .. chosen_kind), turn, chosen)
      return chosen, owner, false
    end
    redis.call('ZADD', key('turn:' .. chosen_kind), int(PARKED + turn), chosen)
    if lowest >= PARKED then return chosen, owner, true end
    redis.call('SADD', key('parked:' .. owner), chosen)
    parked, parked_owner = chosen, owner
  end
  return parked, parked_owner, false
end

-- Moves parked sessions of a live node back into the rotation, a limited number per call.
local function unpark(owner)
  for _, session in ipairs(redis.call('SPOP', key('parked:' .. owner), MOST_PARKED)) do
    local kind, known = kind_and_owner(session)
    if known == owner then
      redis.call('ZADD', key('turn:' .. kind), 'XX', redis.call('HINCRBY', key('log:head'), 'turn', 1), session)
    end
  end
end

-- ---- jobs ------------------------------------------------------------------------------------------------------

-- Gives a worker a turn if it has a free place and no turn yet.
local function offer_places(session, kind)
  local worker = redis.call('HGET', key('workers'), session)
  if not worker then return end
  local places = tonumber(string.match(worker, '^(%d+)'))
  if redis.call('SCARD', key('held:' .. session)) < places then
    if not redis.call('ZSCORE', key('workers:' .. kind), session) then
      redis.call('ZADD', key('workers:' .. kind), redis.call('HINCRBY', key('log:head'), 'turn', 1), session)
    end
  end
end

-- Takes a job from the worker that has it, which then has a free place.
local function free_place(id, session)
  if not session or redis.call('SREM', key('held:' .. session), id) == 0 then return end
  local kind = kind_and_owner(session)
  if kind then offer_places(session, kind) end
end

local function let_wait(id, mask, from)
  redis.call('HSET', key('job:' .. id), 'state', 'waiting')
  redis.call('ZADD', key('jobs:waiting:' .. mask), int(from), id)
  redis.call('SADD', key('jobs:masks'), mask)
end

-- Makes a job wait until `from` that a worker had, or undeliverable if its attempts are used up.
local function take_back(id, from, now)
  local job = redis.call('HMGET', key('job:' .. id), 'attempts', 'most', 'mask', 'name')
  redis.call('ZREM', key('jobs:delivered'), id)
  if not job[1] then return end
  if tonumber(job[1]) < tonumber(job[2]) then return let_wait(id, job[3], from) end
  redis.call('HSET', key('job:' .. id), 'state', 'undeliverable')
  redis.call('ZADD', key('jobs:undeliverable'), int(now), id)
  redis.call('RPUSH', key('jobs:news'), id .. ' ' .. job[4])
end

-- Removes a job, whatever its state. Returns false if there is none with this id.
local function remove_job(id)
  local job = redis.call('HMGET', key('job:' .. id), 'mask', 'bytes', 'session', 'state')
  if not job[1] then return false end
  redis.call('ZREM', key('jobs:waiting:' .. job[1]), id)
  redis.call('ZREM', key('jobs:delivered'), id)
  redis.call('ZREM', key('jobs:undeliverable'), id)
  redis.call('DEL', key('job:' .. id))
  redis.call('HINCRBY', key('log:head'), 'jobs', -1)
  redis.call('HINCRBY', key('log:head'), 'jobs_bytes', -tonumber(job[2]))
  if job[4] == 'delivered' then free_place(id, job[3]) end
  return true
end

-- The maximum number of workers that one choice looks at.
local MOST_WORKERS = 64

-- Chooses the next worker of these kinds in turn: not the one that had the job last, if there is another. Workers of
-- nodes whose lease has expired lose their turn. Returns nil if there is none, and whether the author is the only one.
local function choose_worker(mask, author, last, now)
  local candidates = {}
  for kind = 0, 7 do
    if is_in(mask, kind) then
      local found = redis.call('ZRANGE', key('workers:' .. kind), 0, MOST_WORKERS - 1, 'WITHSCORES')
      for place = 1, #found, 2 do
        candidates[#candidates + 1] = { session = found[place], turn = tonumber(found[place + 1]), kind = kind }
      end
    end
  end
  table.sort(candidates, function(one, other) return one.turn < other.turn end)
  local only, is_author_there = nil, false
  for _, candidate in ipairs(candidates) do
    local kind, owner = kind_and_owner(candidate.session)
    candidate.owner = owner
    if not kind then
      redis.call('ZREM', key('workers:' .. candidate.kind), candidate.session)
    elseif not is_alive(owner, now) then
      local turn = redis.call('HINCRBY', key('log:head'), 'turn', 1)
      redis.call('ZADD', key('workers:' .. candidate.kind), turn, candidate.session)
    elseif candidate.session == author then
      is_author_there = true
    else
      if candidate.session ~= last then return candidate end
      only = only or candidate
    end
  end
  return only, is_author_there
end

-- Gives a job to a worker: the delivery is an entry of the log.
local function give_job(log, id, job, worker, now)
  local name, d, mask, user, timeout = job[1], job[2], job[3], job[5], tonumber(job[7])
  local record, session = key('job:' .. id), worker.session
  local places, owner_key = string.match(redis.call('HGET', key('workers'), session) or '1 ', '^(%d+) (.*)$')
  local attempt = redis.call('HINCRBY', record, 'attempts', 1)
  local number = redis.call('HINCRBY', record, 'number', 1)
  redis.call('HSET', record, 'state', 'delivered', 'session', session, 'k:' .. int(number), owner_key)
  redis.call('ZADD', key('jobs:delivered'), int(now + timeout), id)
  redis.call('ZREM', key('jobs:waiting:' .. mask), id)
  redis.call('SADD', key('held:' .. session), id)
  if redis.call('SCARD', key('held:' .. session)) >= tonumber(places) then
    redis.call('ZREM', key('workers:' .. worker.kind), session)
  else
    local turn = redis.call('HINCRBY', key('log:head'), 'turn', 1)
    redis.call('ZADD', key('workers:' .. worker.kind), turn, session)
  end
  local label = '-' .. user .. '!' .. id .. ',' .. int(number) .. ',' .. int(attempt)
  append(log, table.concat({ 'j', mask, '-', session .. '@' .. worker.owner, label }, ' '), name, d, now, nil,
    job[8] or nil)
end

-- How many jobs one call passes over that the only free worker has published itself, and how long they then wait at
-- least, in ms, so that others come before them.
local MOST_PASSED_OVER, PASSED_OVER = 64, 1000

-- Gives jobs that wait to workers with free places, at most `budget`. Returns whether there may be more.
local function assign_jobs(log, now, budget)
  for _, mask in ipairs(redis.call('SMEMBERS', key('jobs:masks'))) do
    local waiting, passed = key('jobs:waiting:' .. mask), 0
    while passed < MOST_PASSED_OVER do
      if budget == 0 then return true end
      local id = redis.call('ZRANGEBYSCORE', waiting, '-inf', int(now), 'LIMIT', 0, 1)[1]
      if not id then
        if redis.call('EXISTS', waiting) == 0 then redis.call('SREM', key('jobs:masks'), mask) end
        break
      end
      local job = redis.call('HMGET', key('job:' .. id), 'name', 'd', 'mask', 'author', 'user', 'session', 'timeout',
        'trace')
      if not job[1] then
        redis.call('ZREM', waiting, id)
      else
        local worker, is_author_there = choose_worker(tonumber(mask), job[4], job[6], now)
        if worker then
          budget = budget - 1
          give_job(log, id, job, worker, now)
        elseif is_author_there then
          passed = passed + 1
          redis.call('ZADD', waiting, int(now + PASSED_OVER), id)
        else
          break
        end
      end
    end
  end
  return false
end

-- The maximum number of jobs that one call takes back from a worker that has ended.
local MOST_TAKEN_BACK = 64

-- Takes back the jobs of a worker that has ended. Returns whether it is done.
local function take_back_all(session, kind, now)
  if redis.call('HDEL', key('workers'), session) == 1 then redis.call('ZREM', key('workers:' .. kind), session) end
  local held = redis.call('SPOP', key('held:' .. session), MOST_TAKEN_BACK)
  for _, id in ipairs(held) do
    -- A worker may have it by now whose session has the place of this one in a set that was lost.
    if redis.call('HGET', key('job:' .. id), 'session') == session then take_back(id, now, now) end
  end
  return #held < MOST_TAKEN_BACK
end

-- ---- addressed entries -------------------------------------------------------------------------------------------

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

-- Stores an entry without a receiver for the next session that may receive it, for as long as the log has it.
local function keep_waiting(log, entry, offset, age)
  local queue = key('waiting:' .. (entry.guild or 'any') .. ':' .. entry.mask)
  redis.call('ZREMRANGEBYSCORE', queue, '-inf', int(log.trimmed))
  redis.call('ZADD', queue, offset, offset)
  redis.call('PEXPIRE', queue, int(age + 60000))
  redis.call('ZADD', key('waiting'), offset, offset)
  redis.call('SADD', key('waiting:masks'), entry.mask)
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

-- ---- guilds ------------------------------------------------------------------------------------------------------

-- The minimum bytes of events before they are folded into a guild; a larger guild needs as many bytes as it has itself.
local UNFOLDED = 65536

local function write_guild_state(guild, whole, since)
  local generation = redis.call('HINCRBY', key('log:head'), 'guilds', 1)
  redis.call('HSET', key('guild:state'), guild, int(generation) .. ' ' .. int(whole) .. ' ' .. int(since))
end

-- Records the change of a guild by an event: `c<guild>` replaces the guild with the event's data, `d<guild>` deletes
-- it, `u<guild>` appends the event to it, and `-` is no change.
local function change_guild(change, name, d)
  if change == '-' then return end
  local how, guild = string.sub(change, 1, 1), string.sub(change, 2)
  local list = key('guild:' .. guild)
  local place = string.rep('0', 20 - #guild) .. guild
  if how == 'c' then
    redis.call('DEL', list)
    redis.call('RPUSH', list, d)
    write_guild_state(guild, #d, 0)
    redis.call('ZADD', key('guild:order'), 0, place)
  elseif how == 'd' then
    redis.call('ZREM', key('guild:order'), place)
    redis.call('HDEL', key('guild:state'), guild)
    redis.call('SREM', key('guild:long'), guild)
    redis.call('DEL', list)
  else
    local state = redis.call('HGET', key('guild:state'), guild)
    if not state then return end
    local generation, whole, since = string.match(state, '^(%d+) (%d+) (%d+)$')
    since = tonumber(since) + #name + #d + 1
    redis.call('RPUSH', list, name .. '\n' .. d)
    redis.call('HSET', key('guild:state'), guild, generation .. ' ' .. whole .. ' ' .. int(since))
    if since > math.max(UNFOLDED, tonumber(whole)) then redis.call('SADD', key('guild:long'), guild) end
  end
end

-- ---- Discord sessions --------------------------------------------------------------------------------------------

-- Sets the expiry of a session, in ms.
local function keep_session(session, ms)
  local name = key('discord:' .. session)
  redis.call('PEXPIRE', name, ms)
  redis.call('PEXPIRE', name .. ':private', ms)
  redis.call('ZADD', key('discord:deadlines'), int(now_ms() + tonumber(ms)), session)
end

-- Whether this is the owner of a session. If not, also returns the reply to send.
local function has_session(name, generation)
  local known = redis.call('HMGET', name, 'generation', 'ended')
  if not known[1] then return false, { 'gone' } end
  if known[2] or known[1] ~= generation then return false, { 'superseded', known[1] } end
  return true
end

-- Records which shard of a bot user's guilds a new session covers.
local function cover(session, user, shard)
  if redis.call('HSETNX', key('discord:covers'), session, user .. ' ' .. shard) == 1 then
    redis.call('HINCRBY', key('discord:covers:' .. user), shard, 1)
  end
end

-- Records that a session has ended. Its presence and voice states are undone later, in order.
local function uncover(session)
  redis.call('ZREM', key('discord:deadlines'), session)
  local cover = redis.call('HGET', key('discord:covers'), session)
  if not cover then return end
  redis.call('HDEL', key('discord:covers'), session)
  local user, shard = string.match(cover, '^(%d+) (.+)$')
  if redis.call('HINCRBY', key('discord:covers:' .. user), shard, -1) < 1 then
    redis.call('HDEL', key('discord:covers:' .. user), shard)
  end
  redis.call('RPUSH', key('discord:over'), session .. ' ' .. cover .. ' 0')
end

-- Ends a session. The end is remembered for an owner that does not know of a later one.
local function end_session(session, generation, ms)
  local name = key('discord:' .. session)
  redis.call('DEL', name, name .. ':private')
  redis.call('HSET', name, 'generation', generation, 'ended', 1)
  redis.call('PEXPIRE', name, ms)
  uncover(session)
end

-- Appends an event of a guild for the Discord sessions that have the guild.
local function append_of_guild(log, guild, name, d, now)
  change_guild('u' .. guild, name, d)
  append(log, 'a 0 - - 0/' .. guild .. ',,a', name, d, now)
end

-- Moves the checkpoint of a session to `epoch`, if that is the current one and contains everything up to the
-- checkpoint: its client has seen nothing that is lost. Until then, the entries that it receives of this epoch cannot
-- be distinguished from lost ones.
local function carry_session(name, epoch)
  local known = redis.call('HMGET', name, 'epoch', 'offset')
  if known[1] == epoch or redis.call('HGET', key('log:head'), 'epoch') ~= epoch then return end
  if is_before_a_loss(known[1]) then return end
  local good = redis.call('ZSCORE', key('log:epochs'), known[1])
  if good and tonumber(known[2]) <= tonumber(good) then redis.call('HSET', name, 'epoch', epoch) end
end

-- The stored size of a private event, in bytes.
local function private_weight(text)
  return #text + 64
end

-- ---- reports of bots ---------------------------------------------------------------------------------------------

-- The sums exceed the 53 bits of a Lua number, so each is stored in two parts: the lower 26 bits, and the rest.
local HALF = 67108864

local function add(field, value, sign)
  local high = math.floor(value / HALF)
  redis.call('HINCRBY', key('sums'), field .. ':high', int(sign * high))
  redis.call('HINCRBY', key('sums'), field .. ':low', int(sign * (value - high * HALF)))
end

local function add_values(values, sign)
  if not values then return end
  local count, members, cached = string.match(values, '^(%d+) (%d+) (%d+)$')
  add('guilds', tonumber(count), sign)
  add('members', tonumber(members), sign)
  add('cached', tonumber(cached), sign)
end

local function list_guild(guild, session)
  local reporters = redis.call('HGET', key('guilds'), guild) or ''
  redis.call('HSET', key('guilds'), guild, reporters .. session .. ' ')
end

local function unlist_guild(guild, session)
  local reporters = redis.call('HGET', key('guilds'), guild)
  if not reporters then return end
  local kept = {}
  for reporter in string.gmatch(reporters, '%S+') do
    if reporter ~= session then kept[#kept + 1] = reporter .. ' ' end
  end
  if #kept == 0 then
    redis.call('HDEL', key('guilds'), guild)
  else
    redis.call('HSET', key('guilds'), guild, table.concat(kept))
  end
end

local function mark_dirty()
  redis.call('HSET', key('log:head'), 'dirty', 1)
end

-- Returns the counts, as `<high>:<low>` of guilds, members and cached members. While a report is partly added or
-- removed, the previous counts are returned.
local function totals(now)
  redis.call('ZREMRANGEBYSCORE', key('staging'), '-inf', int(now))
  if redis.call('EXISTS', key('staging')) == 1 then
    return redis.call('HGET', key('log:head'), 'totals') or '0:0,0:0,0:0', true
  end
  local sums = redis.call('HMGET', key('sums'), 'guilds:high', 'guilds:low', 'members:high', 'members:low',
    'cached:high', 'cached:low')
  local parts = {}
  for place = 1, 5, 2 do
    local high, low = tonumber(sums[place] or 0), tonumber(sums[place + 1] or 0)
    if place == 1 then low = low + redis.call('HLEN', key('guilds')) end
    local carry = math.floor(low / HALF)
    parts[#parts + 1] = int(high + carry) .. ':' .. int(low - carry * HALF)
  end
  local text = table.concat(parts, ',')
  redis.call('HSET', key('log:head'), 'totals', text)
  return text, false
end

-- How long a partly processed report or leave freezes the counts, in ms.
local STAGING = 5000

-- Records that a session watches a guild. The order of the writes matters: a server that is killed between them may
-- count a session too often, and an event is accepted that has no receiver, but never too rarely.
local function watch(guild, session, kind, owner)
  if redis.call('SISMEMBER', key('report:' .. session), guild) == 1 then return end
  redis.call('HINCRBY', key('watchers:' .. guild), kind .. ' ' .. owner, 1)
  redis.call('SADD', key('report:' .. session), guild)
end

-- Takes back one `watch`, after the guild was removed from the session's set.
local function unwatch(guild, kind, owner)
  if redis.call('HINCRBY', key('watchers:' .. guild), kind .. ' ' .. owner, -1) < 1 then
    redis.call('HDEL', key('watchers:' .. guild), kind .. ' ' .. owner)
  end
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

-- Removes a session and its report, at most `budget` of its guilds per call. Returns whether it is done.
local function forget(session, budget, now)
  local kind, owner = kind_and_owner(session)
  if not kind then return true end
  redis.call('ZREM', key('turn:' .. kind), session)
  if not take_back_all(session, kind, now) then return false end
  local guilds = redis.call('SPOP', key('report:' .. session), budget)
  if kind ~= BOT then
    for _, guild in ipairs(guilds) do unwatch(guild, kind, owner) end
    if #guilds == budget then return false end
    redis.call('HDEL', key('sessions'), session)
    redis.call('SREM', key('node:' .. owner), session)
    return true
  end
  if #guilds > 0 then
    totals(now)
    redis.call('ZADD', key('staging'), int(now + STAGING), session)
    mark_dirty()
  end
  for _, guild in ipairs(guilds) do
    unlist_guild(guild, session)
  end
  if #guilds == budget then return false end
  local values = redis.call('HGET', key('values'), session)
  if values then
    add_values(values, -1)
    redis.call('HDEL', key('values'), session)
    mark_dirty()
  end
  redis.call('ZREM', key('staging'), session)
  redis.call('HDEL', key('sessions'), session)
  redis.call('SREM', key('node:' .. owner), session)
  return true
end
