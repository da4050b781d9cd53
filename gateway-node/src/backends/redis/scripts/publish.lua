-- Appends all of the events or none, and publishes them to the nodes.
--
-- ARGV  run, proposed epoch, owner, fence, n, entries, age ms, bytes, request, digest, most requests,
--       whether the caller may judge by leases (1 or 0), most jobs, most bytes of jobs,
--       then for each event: delivery (`all`, `any`, a guild, or `u<hex>` for a user), whether it requires a live receiver (1 or 0), mask,
--       author, label, change of a guild, trace, name, d
--       request, author and trace are `-` if there is none; the label of a request to reply to has a `?`,
--       and that of a job a `!`; n counts the publications under this fence from 1
--
-- Returns { 'ok', epoch, first offset, number of undeliverable events, 'again' if the request had been accepted before }
-- or { 'no_receiver', index } or { 'key_reused' } or { 'too_many_keys', ms until the oldest expires }
-- or { 'too_many_jobs', index }: the publication is final, and the same n always returns the same result. Or returns { 'fenced' } or { 'gap', last n }: the publication was not processed.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local n = tonumber(ARGV[5])
local bounds = { entries = tonumber(ARGV[6]), age = tonumber(ARGV[7]), bytes = tonumber(ARGV[8]) }
local request, digest, most_requests = ARGV[9], ARGV[10], tonumber(ARGV[11])
local may_judge = ARGV[12] == '1'
local most_jobs, most_job_bytes = tonumber(ARGV[13]), tonumber(ARGV[14])

if not is_current(owner, fence) then return { 'fenced' } end

local producer = key('producer:' .. owner .. ':' .. fence)
local last = tonumber(redis.call('HGET', producer, 'last') or 0)
if n ~= last + 1 then
  return { 'gap', int(last) }
end

-- The result is remembered for a caller that did not receive it.
local function answer(...)
  redis.call('HSET', producer, 'last', int(n), int(n % 1024), int(n) .. ' ' .. table.concat({ ... }, ' '))
  if n == 1 then redis.call('PEXPIRE', producer, int(bounds.age + 60000)) end
  return { ... }
end

if request ~= '-' then
  local before = redis.call('GET', key('request:' .. request))
  if before then
    local same, epoch, first = string.match(before, '^(%S+) (%S+) (%S+)$')
    if same ~= digest then return answer('key_reused') end
    return answer('ok', epoch, first, '0', 'again')
  end
end

local now = now_ms()

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

-- Whether sessions of a ticket receive a broadcast: its label says so.
local function is_for_tickets(event)
  return string.find(event.label, '+', 1, true) ~= nil
end

-- A new key must fit the limit of unexpired keys. Expired keys are removed in portions, so that no call pays for all of
-- them; they do not count, removed or not.
if request ~= '-' then
  local expired = redis.call('ZRANGEBYSCORE', key('requests'), '-inf', int(now), 'LIMIT', 0, 64)
  if #expired > 0 then redis.call('ZREM', key('requests'), unpack(expired)) end
  local since = '(' .. int(now)
  if redis.call('ZCOUNT', key('requests'), since, '+inf') >= most_requests then
    local oldest = redis.call('ZRANGEBYSCORE', key('requests'), since, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    return answer('too_many_keys', int(tonumber(oldest[2]) - now))
  end
end

-- All receivers are chosen first, so that nothing is appended if one event has none.
local events = {}
local jobs, job_bytes = nil, nil
for place = 15, #ARGV, 9 do
  local event = {
    delivery = ARGV[place],
    is_receiver_required = ARGV[place + 1] == '1',
    mask = tonumber(ARGV[place + 2]),
    author = ARGV[place + 3],
    label = ARGV[place + 4],
    change = ARGV[place + 5],
    trace = ARGV[place + 6] ~= '-' and ARGV[place + 6] or nil,
    name = ARGV[place + 7],
    d = ARGV[place + 8],
  }
  -- Only sessions of live nodes count: the others may be gone. But until the caller may judge, an expired lease says
  -- nothing. An event for a session that is gone is given to another one when its node is reaped.
  local has_receiver = true
  if string.find(event.label, '!', 1, true) then
    event.id, event.timeout, event.most = string.match(event.label, '!(%x+),(%d+),(%d+)')
    if redis.call('EXISTS', key('job:' .. event.id)) == 0 then
      if not jobs then
        local head = redis.call('HMGET', key('log:head'), 'jobs', 'jobs_bytes')
        jobs, job_bytes = tonumber(head[1] or 0), tonumber(head[2] or 0)
      end
      event.bytes = #event.name + #event.d + 200
      jobs, job_bytes = jobs + 1, job_bytes + event.bytes
      if jobs > most_jobs or job_bytes > most_job_bytes then return answer('too_many_jobs', int(#events)) end
    end
  elseif string.find(event.label, '?', 1, true) then
    event.one = choose_for_request(event)
    has_receiver = event.one ~= nil
  elseif event.delivery == 'any' then
    local is_nobody_alive
    event.receiver, event.owner, is_nobody_alive = choose(event.mask, event.author, '-', now)
    has_receiver = event.receiver and not (is_nobody_alive and may_judge)
  elseif string.sub(event.delivery, 1, 1) == 'u' then
    event.user = event.delivery
    local is_watcher_alive
    event.is_watched, is_watcher_alive = watchers_of(event.user, event.mask, event.author, now)
    has_receiver = is_watcher_alive or (event.is_watched and not may_judge)
  elseif event.delivery ~= 'all' then
    local is_any_alive, is_watcher_alive
    event.guild = event.delivery
    event.receivers, event.owners, is_any_alive = reporters_of(event.guild, event.mask, event.author, nil, now)
    event.is_watched, is_watcher_alive = watchers_of(event.guild, event.mask, event.author, now)
    local is_anyone_there = #event.receivers > 0 or event.is_watched
    has_receiver = is_any_alive or is_watcher_alive or (is_anyone_there and not may_judge)
  elseif event.is_receiver_required then
    local found, _, is_nobody_alive = choose(event.mask, event.author, '-', now)
    local has_ticket, is_ticket_alive = false, false
    if is_for_tickets(event) then has_ticket, is_ticket_alive = watchers_of('tickets', event.mask, event.author, now) end
    has_receiver = is_ticket_alive or (found and not is_nobody_alive) or ((found or has_ticket) and not may_judge)
  end
  if event.is_receiver_required and not has_receiver then return answer('no_receiver', int(#events)) end
  events[#events + 1] = event
end

local log = open_log(run, proposed)
local first = int(log.top + 1)
local unheard = 0
for _, event in ipairs(events) do
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
    end
  elseif event.one then
    append(log, table.concat({ 'r', event.mask, event.author, event.one, event.label }, ' '), event.name, event.d, now,
      nil, event.trace)
  elseif event.receiver then
    append_for_one(log, event, event.receiver, event.owner, now)
  elseif event.user then
    append(log, table.concat({ 'u', event.mask, event.author, event.user, event.label }, ' '), event.name, event.d, now,
      nil, event.trace)
    if not event.is_watched then unheard = unheard + 1 end
  elseif event.receivers then
    append_for_guild(log, event, event.receivers, event.owners, now)
    if #event.receivers == 0 and not event.is_watched then unheard = unheard + 1 end
  elseif event.delivery == 'any' then
    append(log, table.concat({ 'o', event.mask, event.author, '0@-', event.label }, ' '), event.name, event.d, now,
      nil, event.trace)
    keep_waiting(log, event, int(log.top), bounds.age)
  else
    append(log, table.concat({ 'a', event.mask, event.author, '-', event.label }, ' '), event.name, event.d, now,
      nil, event.trace)
    local there = 0
    for kind = 0, 7 do
      if is_in(event.mask, kind) then there = there + redis.call('ZCARD', key('turn:' .. kind)) end
    end
    if there == 0 and is_for_tickets(event) then
      there = watchers_of('tickets', event.mask, event.author, now) and 1 or 0
    end
    if there == 0 then unheard = unheard + 1 end
  end
end
if jobs then assign_jobs(log, now, 64) end
trim(log, bounds, now)
close_log(log)
if request ~= '-' then
  -- Counted first: if the server is killed in between, the key counts until it would have expired. The set expires
  -- after its last key, which may be that of a node with a longer age.
  redis.call('ZADD', key('requests'), int(now + bounds.age), request)
  local last = redis.call('ZRANGE', key('requests'), -1, -1, 'WITHSCORES')
  redis.call('PEXPIRE', key('requests'), int(tonumber(last[2]) - now + 60000))
  redis.call('SET', key('request:' .. request), digest .. ' ' .. log.epoch .. ' ' .. first, 'PX', int(bounds.age))
end
return answer('ok', log.epoch, first, int(unheard))
