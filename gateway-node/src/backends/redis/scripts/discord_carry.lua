-- Has the points of Discord sessions counted in another life of the log, for owners whose clients have nothing that is
-- gone.
--
-- ARGV  epoch, then session and generation of each
--
-- Answers { 'ok' }.

for place = 2, #ARGV, 2 do
  local name = key('discord:' .. ARGV[place])
  if has_session(name, ARGV[place + 1]) then carry_session(name, ARGV[1]) end
end
return { 'ok' }
