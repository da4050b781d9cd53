-- Makes a session a member, or again a member of this owner.
--
-- ARGV  run, proposed epoch, owner, fence, session, kind, again (1 if it was a member before), ticket (1 if
--       it has one), user (as in a label of publish.lua's deliveries, `-` if its ticket names none), places (how many
--       jobs it takes at once, `-` if it is no worker), the id of its key
--
-- Returns { 'ok', epoch, top, counts }; or { 'taken' } if another session has the id; or { 'later' } if this one is
-- still being removed under its node's previous name; or { 'fenced' }.

local run, proposed, owner, fence, session, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

if not is_current(owner, fence) then return { 'fenced' } end
local _, known = kind_and_owner(session)
if known and known ~= owner and ARGV[7] == '1' and tonumber(redis.call('ZSCORE', key('nodes'), known) or -1) < 0 then
  if not forget(session, 256, now_ms()) then return { 'later' } end
  known = nil
end
if known and (ARGV[7] ~= '1' or known ~= owner) then return { 'taken' } end
local log = open_log(run, proposed)
if not known then
  if ARGV[8] == '1' then kind = int(kind + TICKET) end
  redis.call('HSET', key('sessions'), session, kind .. ' ' .. owner)
  redis.call('SADD', key('node:' .. owner), session)
  if ARGV[8] == '1' then watch('tickets', session, kind, owner) end
  if ARGV[9] ~= '-' then watch(ARGV[9], session, kind, owner) end
end
if ARGV[10] ~= '-' then redis.call('HSET', key('workers'), session, ARGV[10] .. ' ' .. ARGV[11]) end
-- The counts broadcast last, not the current ones: if the current ones change back before the next broadcast, nothing
-- is broadcast.
return { 'ok', log.epoch, int(log.top), redis.call('HGET', key('log:head'), 'told') or (totals(now_ms())) }
