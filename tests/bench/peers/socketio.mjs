// Forwards the event `announce` to all other clients, over Socket.IO's WebSocket transport. Acknowledges `beat`.
//
//   node socketio.mjs PORT              a single server
//   node socketio.mjs PORT REDIS_PORT   one of several that share a Redis stream
import { createServer } from "node:http";
import { Server } from "socket.io";

const HOUR_MS = 3_600_000;
// How many messages the stream keeps, about: the default of the gateway's log.
const STREAM_LENGTH = 100_000;

const [port, redisPort] = process.argv.slice(2).map(Number);

async function streamsAdapter() {
  const { createAdapter } = await import("@socket.io/redis-streams-adapter");
  const { createClient } = await import("redis");
  const client = createClient({ socket: { host: "127.0.0.1", port: redisPort } });
  // Without a handler, the process would end. The client reconnects by itself.
  client.on("error", (error) => console.error(error));
  await client.connect();
  return createAdapter(client, { maxLen: STREAM_LENGTH });
}

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  serveClient: false,
  perMessageDeflate: false,
  httpCompression: false,
  pingInterval: HOUR_MS,
  pingTimeout: HOUR_MS,
  ...(redisPort && { adapter: await streamsAdapter() }),
});

// Recommended by Socket.IO's page on performance: frees the first HTTP request, which is not needed here.
io.engine.on("connection", (socket) => {
  socket.request = null;
});

io.on("connection", (socket) => {
  socket.on("announce", (payload) => socket.broadcast.emit("announce", payload));
  socket.on("beat", (acknowledge) => acknowledge?.());
});

http.listen(port, "127.0.0.1", 4096);
