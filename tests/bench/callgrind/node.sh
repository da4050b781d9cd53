#!/usr/bin/env bash
# Counts the instructions of a whole node, thread by thread, while one of the tools that compare uses it:
#
#   tests/bench/callgrind/node.sh connect --sockets 1000
#   tests/bench/callgrind/node.sh fanout --sockets 200 --deliveries 20000 --contenders gateway-two
#   tests/bench/callgrind/node.sh --binary OTHER connect --sockets 1000
#
# The tool and the node are those that `cargo build --release --workspace` has built. What is counted is everything from the
# node's start to its end, without the kernel; what a client costs is the difference of two runs with different numbers of
# them. Under valgrind threads take turns, so that nothing here shows how they wait for each other. The profiles are left in
# the target directory's callgrind/node, one for each thread, for callgrind_annotate.
#
# Exit code 0 when the counts are there, 1 when something fails.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../../.."

binary=
while [ $# -gt 0 ]; do
    case $1 in
        --binary) binary=$(realpath "$2") && shift 2 ;;
        *) break ;;
    esac
done
tool=${1:-}
case $tool in
    connect | fanout | idle | beat) shift ;;
    *) sed -n '2,/^set/{/^#/s/^# \?//p}' "$0" >&2 && exit 64 ;;
esac

# shellcheck disable=SC2034  # tools.sh reads it
tools=none
# shellcheck source=tests/tools.sh
. tests/tools.sh
command -v valgrind >/dev/null || install_packages valgrind

out=$target/callgrind/node
binary=${binary:-$target/release/gateway-node}
if [ ! -x "$target/release/$tool" ] || [ ! -x "$binary" ]; then
    fail "not built; run: cargo build --release --workspace"
fi
rm -rf "$out" && mkdir -p "$out"

# What the tool starts as the node. The tool kills it in the end, and the node lives on until it has been asked to stop.
cat >"$out/start" <<SCRIPT
#!/bin/bash
valgrind --tool=callgrind --separate-threads=yes --log-file="$out/log" --callgrind-out-file="$out/profile" \\
    "$binary" "\$@" &
echo \$! >"$out/pid"
wait
SCRIPT
chmod +x "$out/start"

case " $* " in
    *" --contenders "*) chosen=() ;;
    *) chosen=(--contenders gateway) ;;
esac
# The node's CPU is none of the wrapper's, so what the tool prints says nothing.
"$target/release/$tool" --rounds 1 --no-pin --gateway "$out/start" "${chosen[@]}" "$@" >"$out/printed"
pid=$(cat "$out/pid")
kill -TERM "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done

for profile in "$out"/profile-*; do
    total=$(sed -n 's/^\(totals\|summary\): //p' "$profile" | head -n 1)
    printf 'thread %s %15s instructions\n' "${profile##*-}" "$total"
done
