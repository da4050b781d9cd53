-- Reads the log behind a position, which may be one of an earlier epoch.
--
-- ARGV  run, proposed epoch, owner, fence, epoch, offset, count
--
-- Answers { 'ok', epoch, cut, top, id, entry, ... }, or { 'severed' } when the log does not lead on from there, or
-- { 'fenced' }. The cut is the last offset that the two epochs have in common, `-` where they are one.

local run, proposed, owner, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local epoch, offset = ARGV[5], tonumber(ARGV[6])

if not is_current(owner, fence) then return { 'fenced' } end
local log = open_log(run, proposed)
local cut = '-'
if epoch ~= log.epoch then
  local good = tonumber(redis.call('ZSCORE', key('log:epochs'), epoch) or -1)
  if offset > good then return { 'severed' } end
  cut = int(good)
end
if offset < log.trimmed or offset > log.top then return { 'severed' } end
local answer = { 'ok', log.epoch, cut, int(log.top) }
for _, entry in ipairs(redis.call('XRANGE', key('log'), int(offset + 1) .. '-0', '+', 'COUNT', ARGV[7])) do
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = entry[2][2]
end
return answer
