-- Publishes a command for all sessions to the nodes.
--
-- ARGV  the command's id, its text
--
-- Returns { the number of connections that received the message }. They are not necessarily nodes: a node that has
-- executed the command confirms it (command_done.lua).

return { broadcast(redis.call('HGET', key('log:head'), 'identity'), 'order ' .. ARGV[1] .. ' ' .. ARGV[2]) }
