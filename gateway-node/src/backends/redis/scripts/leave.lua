-- Ends the membership of a session, in several calls when it reported much.
--
-- ARGV  owner, fence, session, budget
--
-- Answers { 'ok' }, or { 'more' }: call again; or { 'fenced' }.

local owner, fence, session = ARGV[1], ARGV[2], ARGV[3]

if not is_current(owner, fence) then return { 'fenced' } end
local _, known = kind_and_owner(session)
-- One that is not ours has been reaped, and its id may be another's.
if known ~= owner then return { 'ok' } end
if forget(session, tonumber(ARGV[4]), now_ms()) then return { 'ok' } end
return { 'more' }
