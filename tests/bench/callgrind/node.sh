#!/usr/bin/env bash
# Counts the instructions of a whole node, per thread, while a comparison tool uses it:
#
#   tests/bench/callgrind/node.sh connect --sockets 1000
#   tests/bench/callgrind/node.sh fanout --sockets 200 --deliveries 20000 --contenders gateway-two
#   tests/bench/callgrind/node.sh --binary OTHER connect --sockets 1000
#
# Uses the tool and the node that `cargo build --release --workspace` has built. The counts cover the node from start to
# end, without the kernel. For the cost of one client, run twice with different numbers of clients and take the
# difference. Valgrind runs one thread at a time, so waiting between threads does not show. The profiles, one per
# thread, stay in callgrind/node of the target directory for callgrind_annotate.
#
# Exit code 0 on success, 1 on failure.
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

# A wrapper that the tool starts as the node. The tool kills only the wrapper, so the node runs on until SIGTERM below.
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
# The tool measures the wrapper instead of the node, so the figures that it prints mean nothing.
"$target/release/$tool" --rounds 1 --no-pin --gateway "$out/start" "${chosen[@]}" "$@" >"$out/printed"
pid=$(cat "$out/pid")
kill -TERM "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done

for profile in "$out"/profile-*; do
    total=$(sed -n 's/^\(totals\|summary\): //p' "$profile" | head -n 1)
    printf 'thread %s %15s instructions\n' "${profile##*-}" "$total"
done
