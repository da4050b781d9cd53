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

# One build for everything below. Building the tests here as well keeps cargo from compiling the dependencies twice.
cargo build --workspace --bins --tests
export UTILBOT_TEST_GATEWAY=$target/debug/gateway-node

# The node without its optional features. Its dependencies have other features, so it has a folder of its own.
cargo build --package gateway-node --no-default-features --target-dir "$target/features" \
    --config 'profile.dev.package."*".opt-level=0'
export UTILBOT_TEST_GATEWAY_WITHOUT_FEATURES=$target/features/debug/gateway-node

if [ $# -eq 0 ]; then
    "$UTILBOT_TEST_PYTHON" tests/conformance/run.py --binary "$UTILBOT_TEST_GATEWAY" --report "$target/conformance"
fi

if cargo nextest --version >/dev/null 2>&1; then
    # nextest does not run doc tests.
    if [ $# -eq 0 ]; then cargo test --workspace --doc; fi
    exec cargo nextest run --workspace "$@"
fi
exec cargo test --workspace "$@"
