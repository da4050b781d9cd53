// Forwards the event `announce` to all other clients, over Socket.IO's WebSocket transport. Acknowledges `beat`.
import { createServer } from "node:http";
import { Server } from "socket.io";

const HOUR_MS = 3_600_000;

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  serveClient: false,
  perMessageDeflate: false,
  httpCompression: false,
  pingInterval: HOUR_MS,
  pingTimeout: HOUR_MS,
});

// Recommended by Socket.IO's page on performance: frees the first HTTP request, which is not needed here.
io.engine.on("connection", (socket) => {
  socket.request = null;
});

io.on("connection", (socket) => {
  socket.on("announce", (payload) => socket.broadcast.emit("announce", payload));
  socket.on("beat", (acknowledge) => acknowledge?.());
});

http.listen(Number(process.argv[2]), "127.0.0.1", 4096);
