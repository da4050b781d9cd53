// A bot on discord.js. It prints every message; the library sends heartbeats and resumes a lost connection.
//
//   npm install discord.js
//   UTILBOT_KEY=development.… node discord_js_bot.mjs

import { Client, Events, GatewayIntentBits } from "discord.js";

const { UTILBOT_KEY, UTILBOT_URL = "http://127.0.0.1:8080" } = process.env;
const { Guilds, GuildMessages, MessageContent } = GatewayIntentBits;

const client = new Client({
  intents: [Guilds, GuildMessages, MessageContent],
  // The address of the gateway: all that differs from a bot on Discord.
  rest: { api: `${UTILBOT_URL}/api` },
});

client.once(Events.ClientReady, ({ user }) => console.log(`ready as ${user.tag}`));
client.on(Events.MessageCreate, ({ author, content }) => console.log(`${author.username}: ${content}`));
client.on(Events.ShardResume, () => console.log("resumed"));
client.on(Events.Error, (error) => console.error(error.message));

await client.login(UTILBOT_KEY);
