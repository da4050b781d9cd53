// A bot on version 1 of the protocol that takes jobs. It works on up to ten jobs `render` at once. It acknowledges each
// when it is done, and gives one that fails back for later. It connects again when it loses its connection.
//
//   npm install ws
//   UTILBOT_KEY=bot.… node job_worker.mjs

import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";

const { UTILBOT_KEY, UTILBOT_URL = "http://127.0.0.1:8080" } = process.env;
if (!UTILBOT_KEY) throw new Error("UTILBOT_KEY is not set");

const isDone = new Set(); // The jobs that are done, by id. A job can come twice. Replace it with your database.

// `id` is the same each time the job comes.
async function render(id, d) {
  if (isDone.has(id)) return;
  console.log("render", JSON.stringify(d));
  await sleep(100); // The work. Replace it with your own.
  if (d.fail) throw new Error("the job has failed");
  isDone.add(id);
}

let socket;
let lastN = 0;
const unanswered = new Map(); // By `n`: what the gateway has not answered yet.

const send = (packet) => {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(packet));
};

// What is not answered is sent again, over the next connection if need be. Any session of the key may send it.
const settle = (packet) => {
  const n = ++lastN;
  unanswered.set(n, { op: 1, n, ...packet });
  send(unanswered.get(n));
};

// `r` is the receipt of the delivery: the id of the job, a dot, and a number.
async function work(r, d) {
  try {
    await render(r.split(".")[0], d);
    settle({ t: "ack", r });
  } catch (error) {
    console.error(error.message);
    settle({ t: "nack", r, d: { delay_ms: 5000 } });
  }
}

const receive = ({ t, n, r, d }) => {
  if (t === "render") work(r, d);
  else if (t === "event_refused" && d.code === "unavailable") {
    // Redis did not get it.
    setTimeout(() => unanswered.has(n) && send(unanswered.get(n)), 1000);
  } else if (t === "event_accepted" || t === "event_refused") unanswered.delete(n);
  else console.log(t, JSON.stringify(d));
  if (t === "bot_connect_success") unanswered.forEach(send);
};

function connect() {
  socket = new WebSocket(`${UTILBOT_URL.replace("http", "ws")}/?v=1`);
  let heartbeats;
  let isAlive = true;
  const sendHeartbeat = () => {
    if (!isAlive) return socket.terminate(); // The last heartbeat got no answer.
    isAlive = false;
    send({ op: 10 });
  };

  socket.on("message", (message) => {
    const packet = JSON.parse(message);
    if (packet.op === 5) {
      heartbeats = setInterval(sendHeartbeat, packet.d.heartbeat);
      send({ op: 1, t: "identify", d: { type: "bot", key: UTILBOT_KEY, jobs: 10 } });
    } else if (packet.op === 11) isAlive = true;
    else if (packet.op === 0) receive(packet);
    else if (packet.op === -1) console.log("error", packet.e, packet.m); // The gateway closes the connection.
  });
  socket.on("error", (error) => console.error(error.message));
  socket.on("close", (code) => {
    clearInterval(heartbeats);
    if (code === 4000 || code === 4001) return; // The version or the key is wrong.
    setTimeout(connect, 1000 + Math.random() * 4000);
  });
}

connect();
