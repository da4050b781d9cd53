#!/usr/bin/env bash
# Runs every test of the repository. On a fresh Debian or Ubuntu with stable Rust and build-essential, it first
# installs the tools that the tests need. Arguments are passed to the test runner:
#
#   tests/run.sh                    everything, WebSocket conformance included
#   tests/run.sh identify           the tests whose name contains `identify`
#
# The runner is cargo-nextest if it is installed, and `cargo test` otherwise. Its summary is the last line.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

# shellcheck source=tests/tools.sh
. tests/tools.sh

# The tests open thousands of sockets.
ulimit -n "$(ulimit -Hn)"

# The node without its optional features, first, since its binary has the same path as the node with all of them. Building
# the harness as well gives the dependencies of both the same features, so that few are compiled twice.
cargo build --package gateway-node --package gateway-harness --no-default-features
export UTILBOT_TEST_GATEWAY_WITHOUT_FEATURES=$target/features/gateway-node
mkdir -p "$target/features"
cp "$target/debug/gateway-node" "$target/features/"

# One build for everything below. Building the tests here as well keeps cargo from compiling the dependencies twice.
cargo build --workspace --bins --tests
export UTILBOT_TEST_GATEWAY=$target/debug/gateway-node

if [ $# -eq 0 ]; then
    "$UTILBOT_TEST_PYTHON" tests/conformance/run.py --binary "$UTILBOT_TEST_GATEWAY" --report "$target/conformance"
fi

if cargo nextest --version >/dev/null 2>&1; then
    # nextest does not run doc tests.
    if [ $# -eq 0 ]; then cargo test --workspace --doc; fi
    exec cargo nextest run --workspace "$@"
fi
exec cargo test --workspace "$@"
