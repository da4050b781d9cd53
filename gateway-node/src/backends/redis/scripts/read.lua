-- Reads the log after a position, which may belong to an earlier epoch.
--
-- ARGV  run, proposed epoch, owner, fence, epoch, offset, count
--
-- Returns { 'ok', epoch, cut, top, id, entry, ... }; or { 'severed' } if the log does not continue from there, or has
-- lost entries after it that some node has seen; or { 'fenced' }. The cut is the last offset that the two epochs have
-- in common, `-` if they are the same.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local epoch, offset = ARGV[5], tonumber(ARGV[6])

-- Whether a node has seen entries of this epoch, or of a later one, that are lost: a reader would skip them.
local function has_lost()
  local order = tonumber(redis.call('HGET', key('log:order'), epoch) or 0)
  local losses = redis.call('HGETALL', key('log:lost'))
  for place = 1, #losses, 2 do
    local left, mark = string.match(losses[place], '^(%x+)(%+?)$')
    if tonumber(redis.call('HGET', key('log:order'), left) or 0) >= order then
      -- With a mark, the value is the number of entries lost in epochs that are no longer known.
      local last = mark == '+' and 0 or tonumber(redis.call('ZSCORE', key('log:epochs'), left) or 0)
      if tonumber(losses[place + 1]) > last then return true end
    end
  end
  return false
end

if not is_current(owner, fence) then return { 'fenced' } end
local log = open_log(run, proposed)
local cut = '-'
if epoch ~= log.epoch then
  local good = tonumber(redis.call('ZSCORE', key('log:epochs'), epoch) or -1)
  if offset > good or has_lost() then return { 'severed' } end
  cut = int(good)
end
if is_before_a_loss(epoch) then return { 'severed' } end
if offset < log.trimmed or offset > log.top then return { 'severed' } end
local answer = { 'ok', log.epoch, cut, int(log.top) }
-- Entries of other programs are skipped: those in between, which have other ids, and those after the end of the log.
local from, wanted = int(offset + 1) .. '-0', tonumber(ARGV[7])
while wanted > 0 do
  local found = redis.call('XRANGE', key('log'), from, int(log.top) .. '-0', 'COUNT', wanted)
  if #found == 0 then break end
  for _, entry in ipairs(found) do
    if string.match(entry[1], '%-0$') then
      answer[#answer + 1] = entry[1]
      answer[#answer + 1] = entry[2][2]
      wanted = wanted - 1
    end
  end
  from = '(' .. found[#found][1]
end
return answer
