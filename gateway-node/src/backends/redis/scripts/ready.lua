-- Marks a session as ready for events addressed to one of several, once it has received the waiting ones.
--
-- ARGV  run, proposed epoch, owner, fence, session
--
-- Returns { 'ok' }, or { 'more' } if more events wait: call again; or { 'gone' } if it is not a member; or
-- { 'fenced' }.

local run, proposed, owner, fence, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not is_current(owner, fence) then return { 'fenced' } end
local kind, known = kind_and_owner(session)
if known ~= owner then return { 'gone' } end
if is_anything_waiting() then
  local log = open_log(run, proposed)
  local left = give_waiting(log, nil, session, kind, owner, MOST_GIVEN, now_ms())
  close_log(log)
  -- The session joins the rotation only after it has them all, so later publications come after them.
  if not left then return { 'more' } end
end
enter(session, kind)
if redis.call('HEXISTS', key('workers'), session) == 1 then
  -- If the server has lost data, the worker may not have these any more.
  for _, id in ipairs(redis.call('SMEMBERS', key('held:' .. session))) do
    if redis.call('HGET', key('job:' .. id), 'session') ~= session then redis.call('SREM', key('held:' .. session), id) end
  end
  offer_places(session, kind)
  local log, now = open_log(run, proposed), now_ms()
  assign_jobs(log, now, 64)
  close_log(log)
end
return { 'ok' }
