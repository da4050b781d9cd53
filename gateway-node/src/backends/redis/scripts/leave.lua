-- Ends the membership of a session, in several calls if its report is large.
--
-- ARGV  owner, fence, session, budget
--
-- Returns { 'ok' }, or { 'more' }: call again; or { 'fenced' }.

local owner, fence, session = ARGV[1], ARGV[2], ARGV[3]

if not is_current(owner, fence) then return { 'fenced' } end
local _, known = kind_and_owner(session)
-- A session of another owner was reaped here, and its id may now belong to another session.
if known ~= owner then return { 'ok' } end
if forget(session, tonumber(ARGV[4]), now_ms()) then return { 'ok' } end
return { 'more' }
