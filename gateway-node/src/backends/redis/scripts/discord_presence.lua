-- Publishes presences and voice states of a Discord session, and stores the events that undo them when it ends. A
-- presence that is published already is not published again.
--
-- ARGV  run, proposed epoch, owner, fence, entries, age ms, bytes, session, generation, then for each: guild, event,
--       data, and the digest of a presence, or the event that undoes a voice state; `-` if the bot is offline, or in no
--       channel
--
-- Returns { 'ok', events }, { 'superseded', generation }, { 'gone' } or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bounds = { entries = tonumber(ARGV[5]), age = tonumber(ARGV[6]), bytes = tonumber(ARGV[7]) }
local session = ARGV[8]

if not is_current(owner, fence) then return { 'fenced' } end
local is_theirs, answer = has_session(key('discord:' .. session), ARGV[9])
if not is_theirs then return answer end
local cover = redis.call('HGET', key('discord:covers'), session)
if not cover then return { 'gone' } end
local user = string.match(cover, '^%d+')

local now = now_ms()
local log = open_log(run, proposed)
local before = log.top
local presences, voices = key('discord:presences:' .. user), key('discord:voices:' .. user)
local own = key('discord:' .. session .. ':voice')
for place = 10, #ARGV, 4 do
  local guild, name, d, about = ARGV[place], ARGV[place + 1], ARGV[place + 2], ARGV[place + 3]
  if name == 'VOICE_STATE_UPDATE' then
    append_of_guild(log, guild, name, d, now)
    if about == '-' then
      redis.call('HDEL', voices, guild)
      redis.call('HDEL', own, guild)
    else
      redis.call('HSET', voices, guild, session)
      redis.call('HSET', own, guild, about)
    end
  elseif (redis.call('HGET', presences, guild) or '-') ~= about then
    append_of_guild(log, guild, name, d, now)
    if about == '-' then
      redis.call('HDEL', presences, guild)
    else
      redis.call('HSET', presences, guild, about)
    end
  end
end
if log.top ~= before then trim(log, bounds, now) end
close_log(log)
return { 'ok', int(log.top - before) }
