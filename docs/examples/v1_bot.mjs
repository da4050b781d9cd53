// A bot on version 1 of the protocol. It prints what it receives, and connects again when it loses its connection.
//
//   npm install ws
//   UTILBOT_KEY=development.… node v1_bot.mjs

import WebSocket from "ws";

const { UTILBOT_KEY, UTILBOT_URL = "http://127.0.0.1:8080" } = process.env;
if (!UTILBOT_KEY) throw new Error("UTILBOT_KEY is not set");

function connect() {
  const socket = new WebSocket(`${UTILBOT_URL.replace("http", "ws")}/?v=1`);
  const send = (packet) => socket.send(JSON.stringify(packet));
  let heartbeats;
  let isAlive = true;
  const sendHeartbeat = () => {
    if (!isAlive) return socket.terminate(); // The last heartbeat got no answer.
    isAlive = false;
    send({ op: 10 });
  };

  socket.on("message", (message) => {
    const { op, t, d, e, m } = JSON.parse(message);
    if (op === 5) {
      heartbeats = setInterval(sendHeartbeat, d.heartbeat);
      send({ op: 1, t: "identify", d: { type: "bot", key: UTILBOT_KEY } });
    } else if (op === 11) isAlive = true;
    else if (op === 0) console.log(t, JSON.stringify(d));
    else if (op === -1) console.log("error", e, m); // The gateway closes the connection.
  });
  socket.on("error", (error) => console.error(error.message));
  socket.on("close", (code) => {
    clearInterval(heartbeats);
    if (code === 4000 || code === 4001) return; // The version or the key is wrong.
    setTimeout(connect, 1000 + Math.random() * 4000);
  });
}

connect();
