-- Stores a new Discord session.
--
-- ARGV  run, proposed epoch, owner, fence, session, key, version of the filter, record, ms until it expires, bot user,
--       `<id> <count>` of its shard
--
-- Returns { 'ok', epoch, top, generation }, or { 'taken' } if another session has this id, or { 'fenced' }.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local name = key('discord:' .. ARGV[5])

if not is_current(owner, fence) then return { 'fenced' } end
local known = redis.call('HMGET', name, 'generation', 'ended')
if known[1] and not known[2] then return { 'taken' } end
local generation = int(tonumber(known[1] or 0) + 1)
local log = open_log(run, proposed)
redis.call('DEL', name, name .. ':private')
redis.call('HSET', name, 'key', ARGV[6], 'version', ARGV[7], 'record', ARGV[8], 'generation', generation, 's', 0,
  'epoch', log.epoch, 'offset', int(log.top))
keep_session(ARGV[5], ARGV[9])
cover(ARGV[5], ARGV[10], ARGV[11])
return { 'ok', log.epoch, int(log.top), generation }
