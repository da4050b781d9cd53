-- Jobs that workers have or had.

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
