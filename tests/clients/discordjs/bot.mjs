// A bot on an unmodified discord.js. It takes commands on standard input and prints events for a test to check:
//
//   node bot.mjs --api http://127.0.0.1:8080/api --intents 513 [--shards 2|auto]
//     [--compression none|identify|zlib-stream]
//
// The token is in DISCORD_TOKEN, and the packages are in UTILBOT_TEST_DISCORDJS_MODULES. The commands are:
//
//   drop [SHARD]           cuts the TCP connection without a close frame
//   presence STATUS        sets the presence: online, idle, dnd or invisible
//   voice GUILD [CHANNEL]  joins this voice channel, or leaves
//   members GUILD          requests all members
//   quit                   closes with code 1000 and ends the process
//
// Every line of standard output is one JSON object with an `event`, and a `shard` if it belongs to one:
//
//   hello, identify, resume    payloads received and sent on a new connection
//   ready                      READY; `session`, `user`, `application`, `guilds`, `resume_url`
//   dispatch                   every dispatch as received: `t`, `s`, `d`
//   heartbeat_ack, resumed     `resumed` may come before the last of the missed dispatches
//   op                         `op` is 7 or 9; for 9, `d` is its data
//   close                      a connection has closed; `code`
//   client_ready               the library is ready; `guilds` as the library has cached them
//   message                    a message as the library emits it
//   presence, voice            of a member, as the library emits it: `guild`, `user`, and `status` or `channel`
//   members                    the answer to `members`
//   login_failed, error        `code` and `message`
//
// Without the native package `zlib-sync`, discord.js falls back to `identify` compression. For `zlib-stream`, pako
// takes its place: it has the same interface, in plain JavaScript.

import { once } from "node:events";
import { createRequire, register } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

function say(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

function fail(reason) {
  process.stderr.write(`failed: ${reason}\n`);
  process.exit(1);
}

const { values: options } = parseArgs({
  options: {
    api: { type: "string" },
    intents: { type: "string" },
    shards: { type: "string" },
    compression: { type: "string", default: "none" },
  },
});
if (!options.api || !options.intents) fail("--api and --intents are needed");
const modules = process.env.UTILBOT_TEST_DISCORDJS_MODULES;
if (!modules) fail("UTILBOT_TEST_DISCORDJS_MODULES is not set; tests/run.sh installs discord.js and sets it");
const require = createRequire(join(modules, "/"));

if (options.compression === "zlib-stream") {
  const pako = JSON.stringify(pathToFileURL(require.resolve("pako")).href);
  const hook = `export const resolve = (name, context, next) => next(name === "zlib-sync" ? ${pako} : name, context);`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
}

const { Client } = require("discord.js");
const { SimpleShardingStrategy, WebSocketShardEvents: ShardEvents } = require("@discordjs/ws");

// Prints the events that the library reports only in its debug log.
function reportFromDebug(message, shard) {
  if (message.startsWith("Identifying")) say("identify", { shard });
  if (message.startsWith("Resuming session")) say("resume", { shard });
  if (message.includes("Told to reconnect by Discord")) say("op", { shard, op: 7 });
  const invalid = /^Invalid session; will attempt to resume: (\w+)/.exec(message);
  if (invalid) say("op", { shard, op: 9, d: invalid[1] === "true" });
}

let strategy;

// Called by discord.js with its gateway, before anything is connected.
function buildStrategy(gateway) {
  gateway.options.compression = options.compression === "none" ? null : "zlib-stream";
  gateway.on(ShardEvents.Hello, ({ shardId: shard }) => say("hello", { shard }));
  gateway.on(ShardEvents.Debug, ({ message, shardId: shard }) => reportFromDebug(message, shard));
  gateway.on(ShardEvents.Ready, ({ data, shardId: shard }) =>
    say("ready", {
      shard,
      session: data.session_id,
      user: data.user.id,
      application: data.application.id,
      guilds: data.guilds.map((guild) => guild.id),
      resume_url: data.resume_gateway_url,
    }),
  );
  gateway.on(ShardEvents.Dispatch, ({ data: { t, s, d }, shardId: shard }) => say("dispatch", { shard, t, s, d }));
  gateway.on(ShardEvents.Resumed, ({ shardId: shard }) => say("resumed", { shard }));
  gateway.on(ShardEvents.HeartbeatComplete, ({ latency, shardId: shard }) =>
    say("heartbeat_ack", { shard, latency_ms: latency }),
  );
  gateway.on(ShardEvents.Closed, ({ code, shardId: shard }) => say("close", { shard, code }));
  gateway.on(ShardEvents.Error, ({ error, shardId: shard }) =>
    say("error", { shard, code: error.code, message: error.message }),
  );
  strategy = new SimpleShardingStrategy(gateway);
  return strategy;
}

const client = new Client({
  intents: Number(options.intents),
  rest: { api: options.api },
  ws: { buildStrategy },
  // Without either there is one shard.
  ...(options.shards === "auto" && { shards: "auto" }),
  ...(Number(options.shards) > 0 && { shardCount: Number(options.shards) }),
});

client.on("clientReady", () => {
  const guilds = client.guilds.cache.map((guild) => ({
    id: guild.id,
    name: guild.name,
    available: guild.available,
    shard: guild.shardId,
    member_count: guild.memberCount,
    channels: guild.channels.cache.size,
  }));
  say("client_ready", { user: client.user.tag, guilds });
});
client.on("messageCreate", ({ id, guildId, channelId, content, author }) =>
  say("message", { id, guild: guildId, channel: channelId, content, author: author.username }),
);
client.on("presenceUpdate", (_, { guild, userId, status }) =>
  say("presence", { guild: guild.id, user: userId, status }),
);
client.on("voiceStateUpdate", (_, { guild, id, channelId }) =>
  say("voice", { guild: guild.id, user: id, channel: channelId }),
);
client.on("error", (error) => say("error", { code: error.code, message: error.message }));
client.on("shardError", () => {});

const commands = {
  drop(shard = "0") {
    // `ws` destroys the socket at once and sends no Close frame.
    strategy.shards.get(Number(shard)).connection.terminate();
  },
  presence(status) {
    client.user.setPresence({ status, activities: [{ name: "with the tests" }] });
  },
  voice(guild, channel = null) {
    const d = { guild_id: guild, channel_id: channel, self_mute: true, self_deaf: false };
    client.guilds.cache.get(guild).shard.send({ op: 4, d });
  },
  async members(guild) {
    const members = await client.guilds.cache.get(guild).members.fetch({ time: 15_000 });
    const names = members.map((member) => member.user.username).sort();
    say("members", { guild, count: names.length, names });
  },
  async quit() {
    await client.destroy();
    process.exit(0);
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const [name, ...rest] = line.trim().split(" ");
  try {
    await commands[name](...rest);
  } catch (error) {
    say("error", { code: error.code, message: `${line}: ${error.message}` });
  }
});
// The test has ended.
once(lines, "close").then(() => process.exit(0));

try {
  await client.login(process.env.DISCORD_TOKEN);
} catch (error) {
  say("login_failed", { code: error.code, message: error.message });
  process.exit(0);
}
