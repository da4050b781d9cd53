// Decodes streams of compressed messages with Node's decoders, the way that bot libraries use them:
//
//   node streams.mjs --method zlib-stream streams.bin
//
// The file and the output have the format of ../python/streams.py. `fzstd` is loaded from UTILBOT_TEST_NODE_MODULES.
// Node's own zstd decoder is used too if it exists (22.15 and later).

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as zlib from "node:zlib";

const DEADLINE_MS = 120_000;
const FLUSHED = Buffer.from([0, 0, 0xff, 0xff]);

function fail(reason) {
  process.stderr.write(`failed: ${reason}\n`);
  process.exit(1);
}

function loadFzstd() {
  const modules = process.env.UTILBOT_TEST_NODE_MODULES;
  if (!modules) fail("UTILBOT_TEST_NODE_MODULES is not set; tests/run.sh installs `fzstd` and sets it");
  return createRequire(join(modules, "/"))("fzstd");
}

// Like discord.js: once a message has been written, the output so far must be the whole message.
function transform(stream) {
  let chunks = [];
  let broken;
  stream.on("data", (chunk) => chunks.push(chunk));
  stream.on("error", (error) => (broken = error));
  return async (sent) => {
    await new Promise((resolve) => stream.write(sent, resolve));
    if (broken) throw broken;
    const said = Buffer.concat(chunks);
    chunks = [];
    return said;
  };
}

function zlibPacket() {
  return (sent) => {
    const { buffer, engine } = zlib.inflateSync(sent, { info: true });
    if (engine.bytesWritten !== sent.length) throw new Error("a packet is not one complete zlib stream");
    return buffer;
  };
}

function zlibStream() {
  const decode = transform(zlib.createInflate({ chunkSize: 65_535, flush: zlib.constants.Z_SYNC_FLUSH }));
  return (sent) => {
    if (!sent.subarray(-4).equals(FLUSHED)) throw new Error("a message does not end with a flush");
    return decode(sent);
  };
}

function fzstdStream(fzstd) {
  let chunks = [];
  const stream = new fzstd.Decompress((chunk) => chunks.push(chunk));
  return (sent) => {
    stream.push(sent);
    const said = Buffer.concat(chunks);
    chunks = [];
    return said;
  };
}

function decodersOf(method) {
  switch (method) {
    case "zlib-packet":
      return { zlib: zlibPacket };
    case "zlib-stream":
      return { zlib: zlibStream };
    case "zstd-stream": {
      const fzstd = loadFzstd();
      const decoders = { fzstd: () => fzstdStream(fzstd) };
      if (zlib.createZstdDecompress) {
        decoders.zlib = () => transform(zlib.createZstdDecompress({ chunkSize: 65_535 }));
      }
      return decoders;
    }
    default:
      return fail(`unknown method ${method}`);
  }
}

function* messages(data) {
  let at = 0;
  const take = (count) => {
    at += count;
    if (at > data.length) fail("the file ends within a message");
    return data.subarray(at - count, at);
  };
  const number = () => take(4).readUInt32LE();
  while (at < data.length) {
    yield { session: number(), sent: take(number()), said: take(number()) };
  }
}

async function read(data, make) {
  const sessions = new Map();
  const sum = { messages: 0, sent: 0, said: 0 };
  for (const { session, sent, said } of messages(data)) {
    if (!sessions.has(session)) sessions.set(session, make());
    const what = `message ${sum.messages} of session ${session}`;
    let got;
    try {
      got = await sessions.get(session)(sent);
    } catch (error) {
      fail(`${what} cannot be decoded: ${error.message}`);
    }
    if (!said.equals(got)) fail(`${what} is ${got.subarray(0, 200)} instead of ${said.subarray(0, 200)}`);
    sum.messages += 1;
    sum.sent += sent.length;
    sum.said += said.length;
  }
  return { sessions: sessions.size, ...sum };
}

const { values: options, positionals } = parseArgs({ options: { method: { type: "string" } }, allowPositionals: true });
if (positionals.length !== 1) fail("give exactly one file");

setTimeout(() => fail(`not done within ${DEADLINE_MS} ms`), DEADLINE_MS).unref();
const data = readFileSync(positionals[0]);
for (const [decoder, make] of Object.entries(decodersOf(options.method))) {
  console.log(JSON.stringify({ client: "node", decoder, ...(await read(data, make)) }));
}
console.log("ok");
process.exit(0);
