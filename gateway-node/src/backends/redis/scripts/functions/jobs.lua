-- Jobs that wait, and their delivery to workers.

local function let_wait(id, mask, from)
  redis.call('HSET', key('job:' .. id), 'state', 'waiting')
  redis.call('ZADD', key('jobs:waiting:' .. mask), int(from), id)
  redis.call('SADD', key('jobs:masks'), mask)
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
