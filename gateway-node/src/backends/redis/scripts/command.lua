-- Passes an order for all sessions on to the nodes that have some.
--
-- ARGV  the order's id, its text
--
-- Answers { how many connections the message went to }. Those may be others than nodes: who has carried out the order says so
-- itself (command_done.lua).

return { broadcast(redis.call('HGET', key('log:head'), 'identity'), 'order ' .. ARGV[1] .. ' ' .. ARGV[2]) }
