#!/usr/bin/env bash
# Counts the instructions of the node's hot functions and compares them with baseline.json, some seconds after a build:
#
#   tests/bench/callgrind/run.sh            prints a table; fails when a function takes over 3 % more than its baseline
#   tests/bench/callgrind/run.sh --update   makes what was counted the baseline, to be committed with the change behind it
#
# The program `hot` (tests/bench/src/hot) calls each function a fixed number of times, and callgrind counts what is
# inside: instructions of the program and the C library, not those of the kernel and no time. A count is the same however
# busy the machine is. It is another with another compiler, C library or kind of processor, so the baseline says what it was
# made with; beside anything else the table is printed and nothing is judged.
#
# Exit code 0 when nothing takes more, 1 when something does or a tool is missing, 2 when the two cannot be compared.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../../.."

update=()
while [ $# -gt 0 ]; do
    case $1 in
        --update) update=(--update) && shift ;;
        *) sed -n '2,/^set/{/^#/s/^# \?//p}' "$0" >&2 && exit 64 ;;
    esac
done

if ! command -v cargo >/dev/null || ! command -v python3 >/dev/null; then
    echo "cargo or python3 is not on the PATH; install the stable toolchain with rustup, and python3 with apt-get" >&2
    exit 1
fi
# shellcheck disable=SC2034  # tools.sh reads it
tools=none
# shellcheck source=tests/tools.sh
. tests/tools.sh
command -v valgrind >/dev/null || install_packages valgrind
command -v valgrind >/dev/null || fail "no valgrind on the PATH; run: sudo apt-get install valgrind"

# Flags of one person would make another program than the baseline's.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
cargo build --release --locked --package gateway-bench --bin hot

out=$target/callgrind
mkdir -p "$out"
# Without an environment, whose size moves the stack.
env -i "$(command -v valgrind)" --tool=callgrind --log-file="$out/log" --callgrind-out-file="$out/profile" \
    --toggle-collect='gateway_bench::hot::*::step' --compress-strings=no --compress-pos=no \
    "$target/release/hot" >"$out/calls" || fail "the program failed; see $out/log"

python3 tests/bench/callgrind/compare.py "${update[@]}" --profile "$out/profile" --calls "$out/calls" \
    --baseline tests/bench/callgrind/baseline.json --rustc "$(rustc --version)" --valgrind "$(valgrind --version)"
