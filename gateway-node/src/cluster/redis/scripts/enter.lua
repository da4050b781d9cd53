-- Lets a session have what is for one of several.
--
-- ARGV  owner, fence, session
--
-- Answers { 'ok' }, or { 'gone' } when it is no member, or { 'fenced' }.

local owner, fence, session = ARGV[1], ARGV[2], ARGV[3]

if not is_current(owner, fence) then return { 'fenced' } end
local kind, known = kind_and_owner(session)
if known ~= owner then return { 'gone' } end
enter(session, kind)
return { 'ok' }
