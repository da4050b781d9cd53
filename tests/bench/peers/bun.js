// Forwards a text message to all other clients, using Bun's topics. Answers "ping" with "pong".
const TOPIC = "announce";

Bun.serve({
  hostname: "127.0.0.1",
  port: Number(Bun.argv[2]),
  fetch(request, server) {
    if (server.upgrade(request)) return;
    return new Response("this is a WebSocket server\n", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    // No idle timeout, and therefore no pings.
    idleTimeout: 0,
    sendPings: false,
    // Bytes that may wait for one client. Beyond that, messages are dropped.
    backpressureLimit: 256 * 1024 * 1024,
    open(ws) {
      ws.subscribe(TOPIC);
    },
    message(ws, message) {
      if (message === "ping") ws.send("pong");
      else ws.publish(TOPIC, message);
    },
  },
});
