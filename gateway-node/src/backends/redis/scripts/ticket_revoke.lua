-- Makes the tickets void that a key has issued for a user so far.
--
-- ARGV  issuer, user (in hexadecimal), ms for which the revocation is kept, most revocations
--
-- revocations           hash: the ms of the latest revocation by `<issuer> <user>`
-- revocations:ages      sorted set: those fields by the ms at which they are no longer needed
-- revocations:revision  string: grows with every revocation
--
-- Returns { 'ok' } or { 'full' }.

local field, kept, most = ARGV[1] .. ' ' .. ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()

local expired = redis.call('ZRANGEBYSCORE', key('revocations:ages'), '-inf', int(now), 'LIMIT', 0, 64)
if #expired > 0 then
  redis.call('HDEL', key('revocations'), unpack(expired))
  redis.call('ZREM', key('revocations:ages'), unpack(expired))
end
if redis.call('HLEN', key('revocations')) >= most and redis.call('HEXISTS', key('revocations'), field) == 0 then
  return { 'full' }
end
redis.call('HSET', key('revocations'), field, int(now))
redis.call('ZADD', key('revocations:ages'), int(now + kept), field)
redis.call('INCR', key('revocations:revision'))
return { 'ok' }
