-- Discord sessions.

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
