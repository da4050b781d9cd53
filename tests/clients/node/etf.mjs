// Decodes terms of the node's codec with npm's `erlang_js`, and encodes the same values with it:
//
//   node etf.mjs --terms terms.jsonl
//
// Each line of the file is `{"json": "…", "message": [131, …]}`, and the bytes must decode to the value of the text.
// For each line, prints the package's own encoding as a JSON array of bytes, and `ok` at the end. `erlang_js` is loaded
// from UTILBOT_TEST_NODE_MODULES. On a failure, prints one line on standard error and exits with 1.

import { deepStrictEqual } from "node:assert";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";

function fail(reason) {
  process.stderr.write(`failed: ${reason}\n`);
  process.exit(1);
}

function loadErlang() {
  const modules = process.env.UTILBOT_TEST_NODE_MODULES;
  if (!modules) fail("UTILBOT_TEST_NODE_MODULES is not set; tests/run.sh installs `erlang_js` and sets it");
  return createRequire(join(modules, "/"))("erlang_js").Erlang;
}

const erlang = loadErlang();
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Converts a term of the package to the value that parsing JSON gives. */
function plain(term) {
  if (typeof term === "number" || typeof term === "boolean") return term;
  if (term instanceof erlang.OtpErlangAtom && term.value === "nil") return null;
  if (term instanceof erlang.OtpErlangBinary && term.bits === 8) return utf8.decode(term.value);
  if (term instanceof erlang.OtpErlangList && !term.improper) return term.value.map(plain);
  if (term instanceof erlang.OtpErlangMap) {
    return Object.fromEntries(Array.from(term.value, ([key, value]) => [plain(key), plain(value)]));
  }
  throw new Error(`a term without a JSON counterpart: ${term}`);
}

/**
 * Converts a JSON value to a term. The package itself encodes null as the atom `undefined`, and an array as a tuple.
 * Arrays of odd length are left to it, so that the node has to decode tuples too.
 */
function term(value) {
  if (typeof value === "string") return new erlang.OtpErlangBinary(Buffer.from(value));
  if (Array.isArray(value)) return value.length % 2 ? value.map(term) : new erlang.OtpErlangList(value.map(term));
  if (value === null || typeof value !== "object") return value;
  const pairs = Object.entries(value).map(([key, inner]) => [term(key), term(inner)]);
  return new erlang.OtpErlangMap(new Map(pairs));
}

/** Calls a function of the package synchronously. Its callback runs before it returns, unless a term is compressed. */
function now(call, input) {
  let answer;
  call(input, (error, output) => (answer = { error, output }));
  if (answer.error) throw answer.error;
  return answer.output;
}

const { values: options } = parseArgs({ options: { terms: { type: "string" } } });
if (!options.terms) fail("no --terms");

for (const line of readFileSync(options.terms, "utf8").trim().split("\n")) {
  const { json, message } = JSON.parse(line);
  try {
    deepStrictEqual(plain(now(erlang.binary_to_term, Buffer.from(message))), JSON.parse(json));
    console.log(JSON.stringify([...now(erlang.term_to_binary, term(JSON.parse(json)))]));
  } catch (error) {
    fail(`${json}: ${error.message}`);
  }
}
console.log("ok");
