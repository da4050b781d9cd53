#!/usr/bin/env bash
# Runs every test of the repository; on a fresh Debian or Ubuntu with stable Rust and build-essential it first
# installs what they need. Arguments go to the test runner:
#
#   tests/run.sh                    everything, WebSocket conformance included
#   tests/run.sh identify           the tests whose name contains `identify`
#
# The runner is cargo-nextest where it is installed and `cargo test` otherwise; its closing line is the last one.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

# shellcheck source=tests/tools.sh
. tests/tools.sh

# The suites open thousands of sockets.
ulimit -n "$(ulimit -Hn)"

# One build for everything below: asking for the tests as well keeps cargo from compiling the dependencies twice.
cargo build --workspace --bins --tests
export UTILBOT_TEST_GATEWAY=$target/debug/gateway-node

if [ $# -eq 0 ]; then
    "$UTILBOT_TEST_PYTHON" tests/conformance/run.py --binary "$UTILBOT_TEST_GATEWAY" --report "$target/conformance"
fi

if cargo nextest --version >/dev/null 2>&1; then
    # nextest leaves out the examples in the documentation.
    if [ $# -eq 0 ]; then cargo test --workspace --doc; fi
    exec cargo nextest run --workspace "$@"
fi
exec cargo test --workspace "$@"
