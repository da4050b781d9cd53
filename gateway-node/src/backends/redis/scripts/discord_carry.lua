-- Moves the checkpoints of Discord sessions to another epoch, for owners whose clients have seen nothing that is lost.
--
-- ARGV  epoch, then session and generation of each
--
-- Returns { 'ok' }.

for place = 2, #ARGV, 2 do
  local name = key('discord:' .. ARGV[place])
  if has_session(name, ARGV[place + 1]) then carry_session(name, ARGV[1]) end
end
return { 'ok' }
