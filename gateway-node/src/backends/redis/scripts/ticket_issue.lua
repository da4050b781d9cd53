-- Stores a ticket until it is taken or expires. The key is the prefix of the cluster, not of an application.
--
-- ARGV  run, id, hash of the secret, application, issuer, user (in hexadecimal, or `-`), record, ttl ms, most unused
--       tickets of the application
--
-- ticket:<id>            string: `<run> <hash> <ms of the issue> <application> <issuer> <user>\n<record>`
-- tickets:<application>  sorted set: the ids of unused tickets by the ms at which they expire
--
-- Returns { 'ok' } or { 'full', ms until the oldest expires }.

local run, id, hash, application, issuer, user, record = unpack(ARGV, 1, 7)
local ttl, most = tonumber(ARGV[8]), tonumber(ARGV[9])
local index, now = key('tickets:' .. application), now_ms()

-- Expired tickets are removed in portions, so that no call pays for all of them; they do not count, removed or not.
local expired = redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', 0, 64)
if #expired > 0 then redis.call('ZREM', index, unpack(expired)) end
if redis.call('ZCOUNT', index, '(' .. int(now), '+inf') >= most then
  local oldest = redis.call('ZRANGEBYSCORE', index, '(' .. int(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return { 'full', int(tonumber(oldest[2]) - now) }
end
redis.call('ZADD', index, int(now + ttl), id)
local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', index, int(tonumber(last[2]) - now + 60000))
local head = table.concat({ run, hash, int(now), application, issuer, user }, ' ')
redis.call('SET', key('ticket:' .. id), head .. '\n' .. record, 'PX', int(ttl))
return { 'ok' }
