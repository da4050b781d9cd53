// Forwards a text message to all other clients, with the `ws` package. Answers "ping" with "pong".
import WebSocket, { WebSocketServer } from "ws";

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 4096,
  perMessageDeflate: false,
});

server.on("connection", (client) => {
  // An error on one client must not end the process; its close event follows.
  client.on("error", () => {});
  client.on("message", (data, isBinary) => {
    if (data.length === 4 && !isBinary && data.toString() === "ping") {
      client.send("pong");
      return;
    }
    for (const other of server.clients) {
      if (other !== client && other.readyState === WebSocket.OPEN) other.send(data, { binary: isBinary });
    }
  });
});
