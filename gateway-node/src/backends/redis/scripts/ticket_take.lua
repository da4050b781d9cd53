-- Takes a ticket, so that it cannot be taken again.
--
-- ARGV  run, id, hash of the secret
--
-- A ticket that another run of the server has stored is not good: the server may have lost that it was taken. A wrong
-- hash leaves the ticket as it is.
--
-- Returns { 'ok', ms of the issue, record } or { 'none' }.

local run, id, hash = ARGV[1], ARGV[2], ARGV[3]

local stored = redis.call('GET', key('ticket:' .. id))
if not stored then return { 'none' } end
local issued_in, known_hash, at, application, issuer, user, record =
  string.match(stored, '^(%S+) (%S+) (%d+) (%S+) (%S+) (%S+)\n(.*)$')
if issued_in ~= run or known_hash ~= hash then return { 'none' } end
redis.call('DEL', key('ticket:' .. id))
redis.call('ZREM', key('tickets:' .. application), id)
local revoked_at = redis.call('HGET', key('revocations'), issuer .. ' ' .. user)
if revoked_at and tonumber(at) <= tonumber(revoked_at) then return { 'none' } end
return { 'ok', at, record }
