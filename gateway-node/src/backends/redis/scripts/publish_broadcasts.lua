-- Appends publications that have nothing but broadcasts, and publishes them to the nodes. It does what publish.lua would
-- do with them, and defines much less to do it.
--
-- ARGV  run, proposed epoch, owner, fence, n, entries, age ms, bytes,
--       then for each publication: number of events, then for each of these: head, and the name followed by d
--       n is the number of the first publication, counted from 1 under this fence; a head is that of an entry, up to the
--       length of the name
--
-- Returns what publish.lua returns.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local first_n = tonumber(ARGV[5])
local bounds = { entries = tonumber(ARGV[6]), age = tonumber(ARGV[7]), bytes = tonumber(ARGV[8]) }

local producer, refusal = find_producer(owner, fence, first_n)
if not producer then return refusal end

local now = now_ms()
local log = open_log(run, proposed)
local results = {}

local function publish_all()
  -- What follows the length of the name in the head of an entry.
  local stamp = ' ' .. int(now) .. '\n'
  local place = 9
  while place <= #ARGV do
    local last = place + 2 * tonumber(ARGV[place])
    local first, unheard = int(log.top + 1), 0
    for event = place + 1, last, 2 do
      local head = ARGV[event]
      put(log, head .. stamp .. ARGV[event + 1], now)
      if count_ready(string.match(head, '^a (%d+)')) == 0 then unheard = unheard + 1 end
    end
    results[#results + 1] = 'ok ' .. log.epoch .. ' ' .. first .. ' ' .. unheard
    place = last + 1
  end
end

-- The results before an error must be remembered: those publications are appended.
local is_fine, error = pcall(publish_all)
trim(log, bounds, now)
close_log(log)
return finish_call(producer, first_n, results, not is_fine and error_text(error) or nil, bounds.age)
