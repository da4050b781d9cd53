// A scenario of protocol version 1 for any runtime with the browser's WebSocket interface: node/v1_client.mjs runs it
// on the `ws` package, browser/index.html on Chromium's own WebSocket. python/v1_client.py has the same scenario,
// written independently.
//
// That a client does not receive an event is shown without waiting: all clients receive events in the same order, so
// one that receives a later event without the earlier one was not sent the earlier one.

const WAIT_MS = 15_000;

export class Failed extends Error {}

function check(condition, message) {
  if (!condition) throw new Failed(message);
}

// Compares parsed JSON, ignoring the order of fields.
function same(a, b) {
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return a === b;
  const keys = Object.keys(a);
  return (
    Array.isArray(a) === Array.isArray(b) &&
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
  );
}

function within(promise, what) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failed(`${what}: not done within ${WAIT_MS} ms`)), WAIT_MS);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}

// One connection, in one of the two encodings.
class Client {
  // `runtime` is { WebSocket, deflate(text) -> bytes, inflate(bytes) -> text }; both functions may return promises.
  constructor(name, url, compressed, runtime) {
    this.name = name;
    this.compressed = compressed;
    this.runtime = runtime;
    this.packets = [];
    this.wake = () => {};

    this.socket = new runtime.WebSocket(url + (compressed ? "?v=1&compression=zlib" : "?v=1"));
    this.socket.binaryType = "arraybuffer";
    this.opened = new Promise((resolve, reject) => {
      this.socket.addEventListener("open", resolve);
      this.socket.addEventListener("error", (event) =>
        reject(new Failed(`${name}: could not connect: ${event.message ?? "no reason given"}`)),
      );
    });
    this.closed = new Promise((resolve) => this.socket.addEventListener("close", resolve));
    this.closed.then((event) => this.take(new Failed(`${name}: closed with ${event.code} while waiting for a packet`)));
    this.socket.addEventListener("message", (event) => this.take(this.decode(event.data)));
  }

  static async open(name, url, compressed, runtime) {
    const client = new Client(name, url, compressed, runtime);
    await within(client.opened, `${name}: connecting`);
    check(client.socket.extensions === "", `${name}: an extension was negotiated: ${client.socket.extensions}`);
    const hello = await client.receive();
    const interval = hello.d?.heartbeat;
    check(Number.isInteger(interval) && interval > 0, `${name}: no heartbeat interval in ${JSON.stringify(hello)}`);
    check(
      same(hello, { op: 5, d: { heartbeat: interval, hearbeat: interval } }),
      `${name}: not a Hello: ${JSON.stringify(hello)}`,
    );
    client.interval = interval;
    return client;
  }

  // Queues a packet, the promise of one, or a failure for receive().
  take(packet) {
    if (packet instanceof Promise) packet.catch(() => {});
    this.packets.push(packet);
    this.wake();
  }

  async decode(data) {
    if (!this.compressed) {
      check(typeof data === "string", `${this.name}: a binary message on a plain connection`);
      return JSON.parse(data);
    }
    check(data instanceof ArrayBuffer, `${this.name}: a text message on a compressed connection: ${data}`);
    return JSON.parse(await this.runtime.inflate(data));
  }

  // Returns the next packet.
  async receive() {
    if (this.packets.length === 0) {
      await within(new Promise((resolve) => (this.wake = resolve)), `${this.name}: waiting for a packet`);
    }
    const packet = await this.packets.shift();
    if (packet instanceof Failed) throw packet;
    return packet;
  }

  // Sends a payload. A compressed connection may send text too.
  async send(payload, { asText = false } = {}) {
    const text = typeof payload === "string" ? payload : JSON.stringify(payload);
    this.socket.send(this.compressed && !asText ? await this.runtime.deflate(text) : text);
  }

  // Expects this packet next. A bot may receive totals before it; other clients may not.
  async expect(expected) {
    let packet = await this.receive();
    while (this.name.startsWith("bot") && packet.t === "GLOBAL_GUILD_COUNT") packet = await this.receive();
    check(
      same(packet, expected),
      `${this.name}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(packet)}`,
    );
  }

  expectEvent(event, data) {
    return this.expect({ op: 0, t: event, d: data });
  }

  // Waits for these totals. Older totals may come first, because totals are coalesced, but no other packets.
  async expectTotals(guilds, guildMembers, cachedGuildMembers) {
    const wanted = { guilds, guildMembers, cachedGuildMembers };
    for (;;) {
      const packet = await this.receive();
      check(
        packet.op === 0 && packet.t === "GLOBAL_GUILD_COUNT",
        `${this.name}: expected totals, got ${JSON.stringify(packet)}`,
      );
      check(
        same(Object.keys(packet.d).sort(), Object.keys(wanted).sort()),
        `${this.name}: wrong fields in totals: ${JSON.stringify(packet)}`,
      );
      if (same(packet.d, wanted)) return;
    }
  }

  async heartbeat() {
    await this.send({ op: 10 }, { asText: true });
    await this.expect({ op: 11 });
  }

  emit(event, data) {
    return this.send({ op: 1, t: event, d: data });
  }

  async identify(type, key) {
    await this.emit("identify", { type, key });
    const packet = await this.receive();
    check(
      packet.op === 0 && packet.t === `${type}_connect_success`,
      `${this.name}: expected ${type}_connect_success, got ${JSON.stringify(packet)}`,
    );
    const { id, node, heartbeat } = packet.d;
    check(typeof id === "string" && /^[0-9]+$/.test(id), `${this.name}: id is not a string of digits: ${id}`);
    check(typeof node === "string" && node !== "", `${this.name}: no node name: ${node}`);
    check(heartbeat === this.interval, `${this.name}: not the interval of Hello: ${heartbeat}`);
    this.id = id;
  }

  async close() {
    this.socket.close(1000);
    const event = await within(this.closed, `${this.name}: closing`);
    check(event.wasClean && event.code === 1000, `${this.name}: close was answered by ${event.code}`);
  }
}

// Runs the scenario in one encoding.
async function walk(url, key, encoding, runtime, report) {
  const passed = (checked) => report({ encoding, checked });
  const open = (name) => Client.open(name, url, encoding === "zlib", runtime);

  const botA = await open("bot a");
  passed("hello with both spellings");

  await botA.send("this is not JSON");
  await botA.emit("send_servers", { guilds: 7000 });
  await botA.heartbeat();
  passed("before identify only heartbeats are answered");

  await botA.identify("bot", key);
  const totals = await botA.receive();
  check(
    totals.t === "GLOBAL_GUILD_COUNT",
    `bot a: expected totals after the success, got ${JSON.stringify(totals)}`,
  );
  passed("bot_connect_success with an id of digits, then totals");

  await botA.heartbeat();
  passed("heartbeat is answered");

  const botB = await open("bot b");
  await botB.identify("bot", key);
  const websiteA = await open("website a");
  await websiteA.identify("website", key);
  const websiteB = await open("website b");
  await websiteB.identify("website", key);
  const ids = new Set([botA, botB, websiteA, websiteB].map((client) => client.id));
  check(ids.size === 4, "two live sessions share an id");
  passed("website_connect_success, every id unique");

  await botA.emit("send_servers", { guilds: ["100", "200"], guildMembers: 50000, cachedGuildMembers: 30000 });
  await botB.emit("send_servers", { guilds: 998, guildMembers: 5555, cachedGuildMembers: 2000 });
  await botA.expectTotals(1000, 55555, 32000);
  await botB.expectTotals(1000, 55555, 32000);
  passed("totals are the sums of the reports");

  await botB.emit("send_servers", { guilds: [200, "300"], guildMembers: 5 });
  await botA.expectTotals(3, 50005, 30000);
  await botB.expectTotals(3, 50005, 30000);
  passed("a report replaces the previous one, an id counts once");

  // Website a sends three events, and website b one after it has received the first. Each client gets, in order:
  const first = { text: 'grüße 👋 \u0000 "quoted"', nested: [1, -2.5, null, true, { deep: [] }] };
  const onlyB = { guildId: "300", settings: { prefix: "!" } };
  const bothBots = { guildId: 200, settings: { prefix: "?" } };
  await websiteA.emit("announce", first);
  await websiteA.emit("guild_settings_changed", onlyB);
  await websiteA.emit("guild_settings_changed", bothBots);

  await botA.expectEvent("announce", first);
  await botA.expectEvent("guild_settings_changed", bothBots);
  await botB.expectEvent("announce", first);
  await botB.expectEvent("guild_settings_changed", onlyB);
  await botB.expectEvent("guild_settings_changed", bothBots);
  await websiteB.expectEvent("announce", first);
  passed("guild_settings_changed reaches only the bots that reported the guild");

  await websiteB.emit("announce", { marker: 1 });
  for (const client of [botA, botB, websiteA]) await client.expectEvent("announce", { marker: 1 });
  await websiteA.emit("announce", { marker: 2 });
  for (const client of [botA, botB, websiteB]) await client.expectEvent("announce", { marker: 2 });
  passed("announce reaches every bot and the other website, and never its sender");

  const stranger = await open("stranger");
  await stranger.emit("identify", { type: "bot", key: "nobody.knows-this-key" });
  const error = await stranger.receive();
  check(error.op === -1 && error.e === 4001 && error.m, `stranger: expected 4001, got ${JSON.stringify(error)}`);
  check(!JSON.stringify(error).includes("nobody.knows-this-key"), "stranger: the key was echoed");
  const { code } = await within(stranger.closed, "stranger: waiting for the close");
  check(code === 4001, `stranger: closed with ${code} instead of 4001`);
  passed("a wrong key is error 4001 and close code 4001");

  await botB.close();
  await botA.expectTotals(2, 50000, 30000);
  passed("the report of a disconnected bot is removed from the totals");

  for (const client of [websiteB, websiteA, botA]) await client.close();
  passed("close is answered with the client's code");
}

// Runs the scenario in both encodings. `report` is called with one object for each check.
export async function run(url, key, runtime, report) {
  for (const encoding of ["plain", "zlib"]) await walk(url, key, encoding, runtime, report);
}
