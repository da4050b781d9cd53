-- The choice of one session of several, in turn.

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
