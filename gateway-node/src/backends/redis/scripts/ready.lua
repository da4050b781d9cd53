-- Lets a session have what is for one of several, once it has what waited for one.
--
-- ARGV  run, proposed epoch, owner, fence, session
--
-- Answers { 'ok' }, or { 'more' } when more waits: call again; or { 'gone' } when it is no member, or { 'fenced' }.

local run, proposed, owner, fence, session = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not is_current(owner, fence) then return { 'fenced' } end
local kind, known = kind_and_owner(session)
if known ~= owner then return { 'gone' } end
if is_anything_waiting() then
  local log = open_log(run, proposed)
  local left = give_waiting(log, nil, session, kind, owner, MOST_GIVEN, now_ms())
  close_log(log)
  -- Not among those who are chosen before it has all: what is published from now on comes behind.
  if not left then return { 'more' } end
end
enter(session, kind)
return { 'ok' }
