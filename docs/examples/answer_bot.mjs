// A bot on version 1 of the protocol that answers requests. It replies to `get_guild_settings` with the settings of the
// guild, or with an error if it has none, and connects again when it loses its connection.
//
//   npm install ws
//   UTILBOT_KEY=bot.… node answer_bot.mjs

import WebSocket from "ws";

const { UTILBOT_KEY, UTILBOT_URL = "http://127.0.0.1:8080" } = process.env;
if (!UTILBOT_KEY) throw new Error("UTILBOT_KEY is not set");

const guilds = ["42", "43", "44"]; // It is asked for these guilds only, because it reports no others.
const settings = new Map([
  ["42", { prefix: "!" }],
  ["43", { prefix: "?" }],
]);

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

  // `r` is the receipt of the request. The reply has to have it.
  const answer = (r, { guildId }) => {
    const found = settings.get(String(guildId));
    if (found) send({ op: 1, t: "reply", r, d: found });
    else send({ op: 1, t: "reply_error", r, d: { code: "unknown_guild" } });
  };

  socket.on("message", (message) => {
    const { op, t, r, d, e, m } = JSON.parse(message);
    if (op === 5) {
      heartbeats = setInterval(sendHeartbeat, d.heartbeat);
      send({ op: 1, t: "identify", d: { type: "bot", key: UTILBOT_KEY, guilds } });
    } else if (op === 11) isAlive = true;
    else if (op === 0) {
      console.log(t, JSON.stringify(d));
      if (t === "get_guild_settings") answer(r, d);
    } else if (op === -1) console.log("error", e, m); // The gateway closes the connection.
  });
  socket.on("error", (error) => console.error(error.message));
  socket.on("close", (code) => {
    clearInterval(heartbeats);
    if (code === 4000 || code === 4001) return; // The version or the key is wrong.
    setTimeout(connect, 1000 + Math.random() * 4000);
  });
}

connect();
