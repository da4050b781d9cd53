-- Appends publications, each all of its events or none, and publishes them to the nodes.
--
-- ARGV  run, proposed epoch, owner, fence, n, entries, age ms, bytes, most requests,
--       whether the caller may judge by leases (1 or 0), most jobs, most bytes of jobs,
--       then for each publication: request, digest, number of events,
--         then for each of these: head, and the name followed by d
--       request and digest are `-` if there is none; n is the number of the first publication, counted from 1 under this
--       fence
--
-- A head that begins with `a` is that of an entry, up to the length of the name: the event is a broadcast and nothing
-- else. Any other head is `? <delivery> <is required> <mask> <author> <label> <change> <trace> <length of the name>`:
-- the delivery is `all`, `any`, a guild, or `u<hex>` for a user; is required says whether it requires a live receiver (1
-- or 0); the change is that of a guild; author and trace are `-` if there is none. The label of a request to reply to has
-- a `?`, and that of a job a `!`.
--
-- Returns { 'done', results, error }. The results, in order and separated by semicolons, are
-- `ok <epoch> <first offset> <number of undeliverable events> [again]`, with `again` if the request had been accepted
-- before, or `no_receiver <index>`, or `key_reused`, or `too_many_keys <ms until the oldest expires>`, or
-- `too_many_jobs <index>`. Each is final. With an error there are fewer results than publications: the one after the
-- last result has failed and may have changed something, and those after it were not processed. Or returns { 'fenced' }
-- or { 'gap', last n }: nothing was processed.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local first_n = tonumber(ARGV[5])
local bounds = { entries = tonumber(ARGV[6]), age = tonumber(ARGV[7]), bytes = tonumber(ARGV[8]) }
local most_requests = tonumber(ARGV[9])
local may_judge = ARGV[10] == '1'
local most_jobs, most_job_bytes = tonumber(ARGV[11]), tonumber(ARGV[12])
local FIRST_PUBLICATION = 13

local producer, refusal = find_producer(owner, fence, first_n)
if not producer then return refusal end

local now = now_ms()
-- What follows the length of the name in the head of an entry that is appended for the first time.
local stamp = ' ' .. int(now) .. '\n'
-- Opened by the first publication that needs it.
local log = nil

-- ---- receivers ---------------------------------------------------------------------------------------------------

-- Chooses the one session that gets a request to reply to, in turn among those that are alive. Returns it as the head of
-- an entry names it, or nil. Until the caller may judge, an expired lease says nothing.
local function choose_for_request(event)
  local mask, author = event.mask, event.author
  if event.delivery == 'any' then
    local session, owner, is_nobody_alive = choose(mask, author, '-', now)
    if not session or (is_nobody_alive and may_judge) then return nil end
    return session .. '@' .. owner
  end
  local is_of_user = string.sub(event.delivery, 1, 1) == 'u'
  local alive, all = { sessions = {}, watchers = {}, count = 0 }, { sessions = {}, watchers = {}, count = 0 }
  local sessions = is_of_user and {} or reporters_of(event.delivery, mask, author, nil, now)
  for _, session in ipairs(sessions) do
    local kind, owner = kind_and_owner(session)
    local turn = tonumber(redis.call('ZSCORE', key('turn:' .. kind), session) or 0)
    local found = { session = session, owner = owner, kind = kind, turn = turn }
    all.sessions[#all.sessions + 1] = found
    if is_alive(owner, now) then alive.sessions[#alive.sessions + 1] = found end
  end
  -- Sessions of a ticket get requests only by their user.
  local found, own = redis.call('HGETALL', key('watchers:' .. event.delivery)), nil
  if #found > 0 and author ~= '-' and redis.call('SISMEMBER', key('report:' .. author), event.delivery) == 1 then
    own = redis.call('HGET', key('sessions'), author)
  end
  for place = 1, #found, 2 do
    local kind, owner = string.match(found[place], '^(%d+) (.+)$')
    local count = tonumber(found[place + 1]) - (found[place] == own and 1 or 0)
    if count > 0 and is_in(mask, tonumber(kind) % TICKET) and (is_of_user or tonumber(kind) < TICKET) then
      local watchers = { owner = owner, count = count }
      all.watchers[#all.watchers + 1] = watchers
      all.count = all.count + count
      if is_alive(owner, now) then
        alive.watchers[#alive.watchers + 1] = watchers
        alive.count = alive.count + count
      end
    end
  end
  local candidates = alive
  if #alive.sessions + alive.count == 0 and not may_judge then candidates = all end
  local total = #candidates.sessions + candidates.count
  if total == 0 then return nil end
  -- Multiples of the golden ratio are spread evenly, whichever requests go elsewhere.
  local number = redis.call('HINCRBY', key('log:head'), 'requests', 1)
  local chosen = math.floor(number * 0.6180339887498949 % 1 * total)
  if chosen < #candidates.sessions then
    local next_one = nil
    for _, candidate in ipairs(candidates.sessions) do
      if not next_one or candidate.turn < next_one.turn then next_one = candidate end
    end
    local turn = redis.call('HINCRBY', key('log:head'), 'turn', 1)
    redis.call('ZADD', key('turn:' .. next_one.kind), 'XX', turn, next_one.session)
    return next_one.session .. '@' .. next_one.owner
  end
  chosen = chosen - #candidates.sessions
  for _, watchers in ipairs(candidates.watchers) do
    if chosen < watchers.count then return (is_of_user and '' or 'g') .. event.delivery .. '@' .. watchers.owner end
    chosen = chosen - watchers.count
  end
end

-- Whether there is a session that receives a broadcast. Sessions of a ticket receive it if its label has a `+`.
local function is_heard(mask, author, label)
  if count_ready(mask) > 0 then return true end
  return string.find(label, '+', 1, true) ~= nil and watchers_of('tickets', mask, author, now)
end

-- ---- one publication ---------------------------------------------------------------------------------------------

-- The jobs of the application and their bytes; nil until they are needed. The second pair is that of the publication in
-- progress.
local jobs, job_bytes, more_jobs, more_job_bytes = nil, nil, 0, 0
local has_new_jobs = false

-- Parses an event and chooses its receivers. Returns nothing if it can be appended, or else the result of its
-- publication.
local function prepare(event, head, index)
  local delivery, is_required, mask, author, label, change, trace, size =
    string.match(head, '^%? (%S+) ([01]) (%d+) (%S+) (%S+) (%S+) (%S+) (%d+)$')
  event.delivery = delivery
  event.mask = tonumber(mask)
  event.author = author
  event.label = label
  event.change = change
  event.trace = trace ~= '-' and trace or nil
  event.name = string.sub(event.rest, 1, tonumber(size))
  event.d = string.sub(event.rest, tonumber(size) + 1)
  -- Only sessions of live nodes count: the others may be gone. But until the caller may judge, an expired lease says
  -- nothing. An event for a session that is gone is given to another one when its node is reaped.
  local has_receiver = true
  if string.find(label, '!', 1, true) then
    event.id, event.timeout, event.most = string.match(label, '!(%x+),(%d+),(%d+)')
    if redis.call('EXISTS', key('job:' .. event.id)) == 0 then
      if not jobs then
        local known = redis.call('HMGET', key('log:head'), 'jobs', 'jobs_bytes')
        jobs, job_bytes = tonumber(known[1] or 0), tonumber(known[2] or 0)
      end
      event.bytes = #event.rest + 200
      more_jobs, more_job_bytes = more_jobs + 1, more_job_bytes + event.bytes
      if jobs + more_jobs > most_jobs or job_bytes + more_job_bytes > most_job_bytes then
        return 'too_many_jobs ' .. int(index)
      end
    end
  elseif string.find(label, '?', 1, true) then
    event.one = choose_for_request(event)
    has_receiver = event.one ~= nil
  elseif delivery == 'any' then
    local is_nobody_alive
    event.receiver, event.owner, is_nobody_alive = choose(event.mask, author, '-', now)
    has_receiver = event.receiver and not (is_nobody_alive and may_judge)
  elseif string.sub(delivery, 1, 1) == 'u' then
    event.user = delivery
    local is_watcher_alive
    event.is_watched, is_watcher_alive = watchers_of(delivery, event.mask, author, now)
    has_receiver = is_watcher_alive or (event.is_watched and not may_judge)
  elseif delivery ~= 'all' then
    local is_any_alive, is_watcher_alive
    event.guild = delivery
    event.receivers, event.owners, is_any_alive = reporters_of(delivery, event.mask, author, nil, now)
    event.is_watched, is_watcher_alive = watchers_of(delivery, event.mask, author, now)
    local is_anyone_there = #event.receivers > 0 or event.is_watched
    has_receiver = is_any_alive or is_watcher_alive or (is_anyone_there and not may_judge)
  elseif is_required == '1' then
    local found, _, is_nobody_alive = choose(event.mask, author, '-', now)
    local has_ticket, is_ticket_alive = false, false
    if string.find(label, '+', 1, true) then
      has_ticket, is_ticket_alive = watchers_of('tickets', event.mask, author, now)
    end
    has_receiver = is_ticket_alive or (found and not is_nobody_alive) or ((found or has_ticket) and not may_judge)
  end
  if is_required == '1' and not has_receiver then return 'no_receiver ' .. int(index) end
end

-- Appends an event, or adds a job. Returns whether nobody receives it.
local function append_event(event)
  if event.entry then
    put(log, event.entry .. stamp .. event.rest, now)
    local mask, author, label = string.match(event.entry, '^a (%d+) (%S+) %- (%S+)')
    return not is_heard(tonumber(mask), author, label)
  end
  -- Before the append, so that the log has no change that the guild does not have.
  change_guild(event.change, event.name, event.d)
  if event.id then
    -- One that is there already was published before, by a call whose result was lost.
    if event.bytes then
      redis.call('HINCRBY', key('log:head'), 'jobs', 1)
      redis.call('HINCRBY', key('log:head'), 'jobs_bytes', event.bytes)
      redis.call('HSET', key('job:' .. event.id), 'name', event.name, 'd', event.d, 'mask', event.mask, 'author',
        event.author, 'user', string.match(event.label, '~%x+') or '', 'timeout', event.timeout, 'most', event.most,
        'attempts', 0, 'at', int(now), 'bytes', event.bytes)
      if event.trace then redis.call('HSET', key('job:' .. event.id), 'trace', event.trace) end
      let_wait(event.id, event.mask, now)
      has_new_jobs = true
    end
    return false
  end
  if event.receiver then
    append_for_one(log, event, event.receiver, event.owner, now)
    return false
  end
  if event.receivers then
    append_for_guild(log, event, event.receivers, event.owners, now)
    return #event.receivers == 0 and not event.is_watched
  end
  local audience, receivers, is_unheard = 'a', '-', false
  if event.one then
    audience, receivers = 'r', event.one
  elseif event.user then
    audience, receivers, is_unheard = 'u', event.user, not event.is_watched
  elseif event.delivery == 'any' then
    audience, receivers = 'o', '0@-'
  else
    is_unheard = not is_heard(event.mask, event.author, event.label)
  end
  append(log, table.concat({ audience, event.mask, event.author, receivers, event.label }, ' '), event.name, event.d, now,
    nil, event.trace)
  if audience == 'o' then keep_waiting(log, event, int(log.top), bounds.age) end
  return is_unheard
end

-- Checks an idempotency key. Returns nothing if the events are to be appended, or else the result of its publication.
local function check_request(request, digest)
  local before = redis.call('GET', key('request:' .. request))
  if before then
    local same, epoch, first = string.match(before, '^(%S+) (%S+) (%S+)$')
    if same ~= digest then return 'key_reused' end
    return 'ok ' .. epoch .. ' ' .. first .. ' 0 again'
  end
  -- A new key must fit the limit of unexpired keys. Expired keys are removed in portions, so that no call pays for all of
  -- them; they do not count, removed or not.
  local expired = redis.call('ZRANGEBYSCORE', key('requests'), '-inf', int(now), 'LIMIT', 0, 64)
  if #expired > 0 then redis.call('ZREM', key('requests'), unpack(expired)) end
  local since = '(' .. int(now)
  if redis.call('ZCOUNT', key('requests'), since, '+inf') >= most_requests then
    local oldest = redis.call('ZRANGEBYSCORE', key('requests'), since, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    return 'too_many_keys ' .. int(tonumber(oldest[2]) - now)
  end
end

-- Remembers an idempotency key.
local function remember_request(request, digest, first)
  -- Counted first: if the server is killed in between, the key counts until it would have expired. The set expires
  -- after its last key, which may be that of a node with a longer age.
  redis.call('ZADD', key('requests'), int(now + bounds.age), request)
  local latest = redis.call('ZRANGE', key('requests'), -1, -1, 'WITHSCORES')
  redis.call('PEXPIRE', key('requests'), int(tonumber(latest[2]) - now + 60000))
  redis.call('SET', key('request:' .. request), digest .. ' ' .. log.epoch .. ' ' .. first, 'PX', int(bounds.age))
end

-- Processes the publication whose first event is at `place` in ARGV, and returns its result.
local function publish(request, digest, place, count)
  if request ~= '-' then
    local result = check_request(request, digest)
    if result then return result end
  end
  -- All receivers are chosen first, so that nothing is appended if one event has none.
  local events = {}
  more_jobs, more_job_bytes = 0, 0
  for index = 0, count - 1 do
    local head = ARGV[place + 2 * index]
    local event = { rest = ARGV[place + 2 * index + 1] }
    if string.byte(head) == 97 then
      event.entry = head
    else
      local result = prepare(event, head, index)
      if result then return result end
    end
    events[index + 1] = event
  end
  if jobs then jobs, job_bytes = jobs + more_jobs, job_bytes + more_job_bytes end
  log = log or open_log(run, proposed)
  local first, unheard = int(log.top + 1), 0
  for _, event in ipairs(events) do
    if append_event(event) then unheard = unheard + 1 end
  end
  if request ~= '-' then remember_request(request, digest, first) end
  return 'ok ' .. log.epoch .. ' ' .. first .. ' ' .. int(unheard)
end

-- ---- all publications --------------------------------------------------------------------------------------------

local results, problem = {}, nil
local place = FIRST_PUBLICATION
while place <= #ARGV do
  local count = tonumber(ARGV[place + 2])
  -- The results before an error must be remembered: those publications are appended.
  local is_fine, result = pcall(publish, ARGV[place], ARGV[place + 1], place + 3, count)
  if not is_fine then
    problem = error_text(result)
    break
  end
  results[#results + 1] = result
  place = place + 3 + 2 * count
end
if log then
  if has_new_jobs then assign_jobs(log, now, 256) end
  trim(log, bounds, now)
  close_log(log)
end
return finish_call(producer, first_n, results, problem, bounds.age)
