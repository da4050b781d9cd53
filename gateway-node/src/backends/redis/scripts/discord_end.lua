-- Ends a Discord session, so that it cannot be resumed.
--
-- ARGV  session, generation, ms for which that is remembered
--
-- Returns { 'ok' }, { 'superseded', generation } or { 'gone' }.

local name = key('discord:' .. ARGV[1])

local is_theirs, answer = has_session(name, ARGV[2])
if not is_theirs then return answer end
end_session(ARGV[1], ARGV[2], ARGV[3])
return { 'ok' }
