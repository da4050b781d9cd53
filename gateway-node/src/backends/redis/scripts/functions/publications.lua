-- Calls that append publications.

-- Returns the key under which the results of a call are remembered. Or returns nil and the reply, if a later registration
-- has taken the place of this one, or if `n`, the number of the first publication, does not follow the last one.
local function find_producer(owner, fence, n)
  if not is_current(owner, fence) then return nil, { 'fenced' } end
  local producer = key('producer:' .. owner .. ':' .. fence)
  local last = tonumber(redis.call('HGET', producer, 'last') or 0)
  if n ~= last + 1 then return nil, { 'gap', int(last) } end
  return producer
end

-- Remembers the results of the publications from number `first` on, for a caller that does not receive them. Returns the
-- reply.
local function finish_call(producer, first, results, problem, age)
  local text = table.concat(results, ';')
  redis.call('HSET', producer, 'last', int(first + #results - 1), 'results', int(first) .. ' ' .. text)
  if first == 1 then redis.call('PEXPIRE', producer, int(age + 60000)) end
  return { 'done', text, problem }
end

-- The text of an error that was caught.
local function error_text(error)
  return type(error) == 'table' and error.err or tostring(error)
end

-- The results of `count_ready`, by mask: no session joins or leaves during this call.
local counted = {}

-- Counts the ready sessions of the kinds in a mask.
local function count_ready(mask)
  local count = counted[mask]
  if not count then
    count = 0
    for kind = 0, 7 do
      if is_in(mask, kind) then count = count + redis.call('ZCARD', key('turn:' .. kind)) end
    end
    counted[mask] = count
  end
  return count
end
