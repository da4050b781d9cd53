-- The keys of one application, and what every script needs.
--
-- KEYS[1]  the prefix of every key of the application; all of them are in one slot
--
-- log                  stream, one entry `<offset>-0` with the field `e`: a head line, the event's name, its data
-- log:head             hash: run, epoch, lives (number of epochs), top, the open segment, trimmed, dirty, told, totals,
--                      turn, requests (how many were given to a session), identity, jobs and jobs_bytes; unheard: the number of entries
--                      that waited for a receiver until they were trimmed; expelled_in: the epoch that began because another program had added entries, and
--                      expelled_at: when, in ms; lost_in: the epoch that began when a loss last became known
-- log:segments         list, oldest first: `<last offset> <bytes> <ms>` of each closed segment, for trimming
-- log:epochs           sorted set: earlier epochs by their last offset that has survived
-- log:order            hash: the ordinal of each epoch
-- log:lost             hash: for an earlier epoch, the highest offset that some node saw and the server has lost; with
--                      a + after its name, the number of entries lost in later epochs whose start is lost too
-- order:<id>           set: the owners of the nodes that have executed a command for all sessions; it expires
-- owners               hash: the fence of each node's registration, by owner name
-- nodes                sorted set: owners by the ms at which their lease expires; -1 while one is being reaped
-- node:<owner>         set: the owner's sessions
-- sessions             hash: `<kind> <owner>` by session; the kind of a session with a ticket is 8 more
-- turn:<kind>          sorted set: the ready sessions of a kind, by the turn in which they were chosen last; those in
--                      `parked` come after all others
-- parked:<owner>       set: sessions of the owner whose turn came while its lease had expired
-- pending:<owner>      sorted set: offsets of entries addressed to sessions of the owner, or to some of them, that it
--                      has not delivered
-- undelivered          hash, by offset: for a pending entry addressed to sessions of several owners, of which none has
--                      delivered it, the number of owners that have not given it back
-- waiting              sorted set: offsets of entries whose receivers all ended before they received them
-- waiting:<delivery>:<mask>  sorted set: those for `any` or for one guild, by the types that may receive them; it
--                      expires
-- waiting:masks        set: the masks of those
-- guilds               hash, by guild: the bots that reported it, each followed by a space
-- report:<session>     set: the guilds that a bot reported, or that another session watches; if it has a ticket, also
--                      `tickets`, and the user of the ticket as `u<hex>`
-- watchers:<guild>     hash, by `<kind> <owner>`: how many sessions of the owner watch it; also by user, and
--                      for `tickets`
-- values               hash: `<count> <members> <cached>` by session
-- sums                 hash: the sums of the values, each in two halves
-- staging              sorted set: sessions whose report is partly added or removed, by the ms at which they stop
--                      counting as such
-- workers              hash: `<places> <key>` of each session that takes jobs
-- workers:<kind>       sorted set: the ready workers of a kind that have free places, by the turn in which they were
--                      chosen last
-- held:<session>       set: the jobs that a worker has
-- job:<id>             hash: a job. name, d, mask, author, user (as in a label), trace, timeout (ms), most (attempts at most),
--                      attempts, number (of the last delivery), at (ms), bytes, state (`waiting`, `delivered` or
--                      `undeliverable`), session (that had it last); the key of the worker as `k:<number>` for each
--                      delivery
-- jobs:waiting:<mask>  sorted set: the jobs that wait, by the ms from which they can be delivered
-- jobs:masks           set: the masks of those
-- jobs:delivered       sorted set: the jobs that a worker has, by the ms of the deadline
-- jobs:undeliverable   sorted set: the jobs whose attempts are used up, by the ms since when they are
-- jobs:news            list: `<id> <name>` of jobs that have become undeliverable, until a node has logged it
-- producer:<owner>:<fence>  hash: the number of the last publication (last), and the results of the last call of
--                      publish.lua after the number of its first one (results)
-- request:<key>        string: the result of a request with an idempotency key
-- requests             sorted set: the idempotency keys by the ms at which they expire, to count them
-- discord:<session>    hash: what a Discord session identified with (record, key, version); its fencing token
--                      (generation); its checkpoint (s, epoch, offset); the ms of each close for slow reading (cuts);
--                      of its private events the bytes stored (bytes), the last sequence number (last), and the last
--                      one discarded (forgotten). Once the session has ended: generation and ended. It expires unless
--                      its owner keeps reporting that it is connected
-- discord:<session>:private  list: `<s> <name>\n<data>` of its private events after the checkpoint
-- discord:<session>:voice    hash: the event that undoes its voice state, by guild
-- discord:deadlines    sorted set: Discord sessions by the ms until which they can be resumed
-- discord:covers       hash: `<user> <id> <count>` by session: the bot user and the shard of each session that has
--                      not ended
-- discord:covers:<user>  hash: the number of those that have each shard, by `<id> <count>`
-- discord:presences:<user>  hash: the digest of the user's published presence, by guild
-- discord:voices:<user>     hash: the session that published the user's voice state, by guild
-- discord:over         list: `<session> <user> <id> <count> <cursor>` of ended sessions whose presence and voice states
--                      are not undone yet
-- guild:<id>           list: the snapshot of a Discord guild, then `<name>\n<data>` of each event that has changed it
--                      since
-- guild:state          hash: `<generation> <bytes of the snapshot> <bytes of the events since>` by guild; a generation
--                      starts when events are folded into the snapshot
-- guild:order          sorted set: the guilds, as 20 digits each
-- guild:long           set: guilds whose events are to be folded
-- discord:starts:<n>   string: how many sessions of shards with this remainder were started in the current window
-- discord:starts       string: how many sessions were started in the current day

-- Channels: pub/sub ignores database numbers, so nodes of different databases receive each other's messages on a
-- channel of the same name. Therefore the name of the only channel, `events:<identity>`, and every message on it carry
-- the identity: a random name and the number of the database, created by the first node that registers (register.lua).

local base = KEYS[1]

local function key(name)
  return base .. name
end

-- Formats a whole number for Redis: in full.
local function int(number)
  return string.format('%d', number)
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Whether the caller is the latest registration under its name. Commands of older connections are refused.
local function is_current(owner, fence)
  return redis.call('HGET', key('owners'), owner) == fence
end

-- Whether a mask of kinds has a kind.
local function is_in(mask, kind)
  return bit.band(mask, bit.lshift(1, kind)) ~= 0
end
