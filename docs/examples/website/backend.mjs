// The backend of a website whose pages connect to the gateway with tickets. Needs Node.js 20 or later, no packages.
//
//     UTILBOT_KEY=site.… UTILBOT_URL=http://127.0.0.1:8080 node backend.mjs
//
// UTILBOT_KEY is a key with the permission `tickets`. It never leaves this process: a page gets a ticket, which opens one
// session and is good for a minute. PORT is the port to listen on, 3000 by default; 0 means any free one.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const gateway = process.env.UTILBOT_URL ?? "http://127.0.0.1:8080";
const key = process.env.UTILBOT_KEY;

const files = {
  "/": ["page.html", "text/html; charset=utf-8"],
  "/gateway.js": ["gateway.js", "text/javascript; charset=utf-8"],
};

// Who has logged in. A real website looks the session up by a cookie; here the page says who it is.
function userOf(request) {
  return new URL(request.url, "http://localhost").searchParams.get("user");
}

// The guilds whose events a user may receive. A real website asks its database.
function guildsOf(user) {
  return user === "ada" ? ["42"] : [];
}

async function issueTicket(user) {
  const response = await fetch(`${gateway}/api/v1/tickets`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({
      user,
      guilds: guildsOf(user),
      events: ["guild_note"],
      session_ms: Number(process.env.SESSION_MS ?? 3_600_000),
    }),
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return (await response.json()).ticket;
}

// Ends the user's sessions, and makes unused tickets void.
async function logOut(user) {
  const target = `${gateway}/api/v1/tickets?user=${encodeURIComponent(user)}`;
  const response = await fetch(target, { method: "DELETE", headers: { authorization: `Bearer ${key}` } });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
}

async function answer(request) {
  const path = new URL(request.url, "http://localhost").pathname;
  if (request.method === "GET" && files[path]) {
    const [name, type] = files[path];
    return [200, await readFile(new URL(name, import.meta.url)), type];
  }
  const user = userOf(request);
  if (request.method !== "POST" || !user) return [404, "not found\n", "text/plain"];
  if (path === "/ticket") {
    const ticket = await issueTicket(user);
    const url = gateway.replace(/^http/, "ws");
    return [200, JSON.stringify({ ticket, url }), "application/json"];
  }
  if (path === "/log-out") {
    await logOut(user);
    return [204, "", "text/plain"];
  }
  return [404, "not found\n", "text/plain"];
}

const server = createServer(async (request, response) => {
  try {
    const [status, body, type] = await answer(request);
    response.writeHead(status, { "content-type": type, "cache-control": "no-store" }).end(body);
  } catch (error) {
    console.error(error.message);
    response.writeHead(502).end();
  }
});
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/`);
});
