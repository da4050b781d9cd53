#!/usr/bin/env bash
# Counts the instructions of the node's hot functions and compares them with baseline.json. Takes a few seconds, not
# counting the build:
#
#   tests/bench/callgrind/run.sh            prints a table; fails if a function takes over 3 % more than its baseline
#   tests/bench/callgrind/run.sh --update   makes the counts the new baseline, to be committed with the change
#
# The program `hot` (tests/bench/src/hot) calls each function a fixed number of times, and callgrind counts the
# instructions of the program and the C library, but not the kernel's, and no time. The counts do not depend on the load
# of the machine. They do depend on the compiler, the C library and the kind of processor, so the baseline names all
# three; if any of them differs, the table is printed but the script does not pass or fail a function.
#
# Exit code 0 if no function takes more, 1 if one does or a tool is missing, 2 if the counts cannot be compared.
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

# A developer's own flags would build a different program than the baseline's.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
build=$target/callgrind/build
# The release binary has no symbols.
cargo build --profile debuginfo --locked --package gateway-bench --bin hot --target-dir "$build"

out=$target/callgrind
mkdir -p "$out"
# The size of the environment shifts the stack, which changes the counts. So it is empty.
env -i "$(command -v valgrind)" --tool=callgrind --log-file="$out/log" --callgrind-out-file="$out/profile" \
    --toggle-collect='gateway_bench::hot::*::step' --compress-strings=no --compress-pos=no \
    "$build/debuginfo/hot" >"$out/calls" || fail "the program failed; see $out/log"

python3 tests/bench/callgrind/compare.py "${update[@]}" --profile "$out/profile" --calls "$out/calls" \
    --baseline tests/bench/callgrind/baseline.json --rustc "$(rustc --version)" --valgrind "$(valgrind --version)"
