// Runs the scenario of protocol version 1 with Node's `ws`, once in plain text and once with `compression=zlib`:
//
//   node v1_client.mjs --url ws://127.0.0.1:8080/ --key-file key.txt      (or the key in UTILBOT_KEY)
//
// The key has to be valid for bots and websites, and no other client may be connected to the gateway. `ws` is loaded
// from UTILBOT_TEST_NODE_MODULES. Prints one JSON line for each check, and `ok` at the end. On a failure, prints one
// line on standard error and exits with 1.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { deflateSync, inflateSync } from "node:zlib";

import { run } from "../js/scenario.mjs";

const DEADLINE_MS = 120_000;

function fail(reason) {
  process.stderr.write(`failed: ${reason}\n`);
  process.exit(1);
}

function loadWs() {
  const modules = process.env.UTILBOT_TEST_NODE_MODULES;
  if (!modules) fail("UTILBOT_TEST_NODE_MODULES is not set; tests/run.sh installs `ws` and sets it");
  return createRequire(join(modules, "/"))("ws");
}

const { values: options } = parseArgs({ options: { url: { type: "string" }, "key-file": { type: "string" } } });
if (!options.url) fail("no --url");
const key = options["key-file"] ? readFileSync(options["key-file"], "utf8").trim() : process.env.UTILBOT_KEY;
if (!key) fail("no key: give --key-file or UTILBOT_KEY");

const runtime = {
  WebSocket: loadWs().WebSocket,
  deflate: (text) => deflateSync(text),
  inflate: (bytes) => {
    const { buffer, engine } = inflateSync(new Uint8Array(bytes), { info: true });
    if (engine.bytesWritten !== bytes.byteLength) throw new Error("a packet is not one complete zlib stream");
    return buffer.toString("utf8");
  },
};

setTimeout(() => fail(`not done within ${DEADLINE_MS} ms`), DEADLINE_MS).unref();
try {
  await run(options.url, key, runtime, (line) => console.log(JSON.stringify({ client: "node", ...line })));
} catch (error) {
  fail(error.message);
}
console.log("ok");
process.exit(0);
