#!/usr/bin/env bash
# Runs the fuzz targets, each for a while, on stable Rust without a sanitizer:
#
#   tests/fuzz/run.sh                       every target for 60 seconds
#   tests/fuzz/run.sh v1_text               one target for 60 seconds
#   tests/fuzz/run.sh v1_text 1200          one target for 20 minutes
#   tests/fuzz/run.sh --minimise            reduces each corpus to the fewest inputs that reach the same code
#   tests/fuzz/run.sh --minimise v1_text    reduces one corpus
#
# New inputs that reach more code are kept in tests/fuzz/target/corpus. --minimise moves the useful ones to
# tests/fuzz/corpus, which is committed and which the ordinary tests replay. An input that fails stays in
# tests/fuzz/artifacts: fix the code, and add the input to the corpus of its target under a name that describes it.
#
# Building needs cargo-fuzz and a C++ compiler. The exit code is 0 if nothing was found, and 1 if an input fails or a
# tool is missing.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")"

fail() {
    printf 'fuzz: %s\n' "$*" >&2
    exit 1
}

targets=()
for path in targets/*.rs; do
    name=${path##*/}
    targets+=("${name%.rs}")
done

minimise=
if [ "${1:-}" = --minimise ]; then minimise=yes && shift; fi
if [ $# -gt 0 ]; then
    [[ " ${targets[*]} " == *" $1 "* ]] || fail "no such target: $1; there are: ${targets[*]}"
    targets=("$1")
fi
seconds=${2:-60}

command -v cargo >/dev/null || fail "no cargo on the PATH; install the stable toolchain with rustup"
command -v c++ >/dev/null || fail "no C++ compiler on the PATH; run: sudo apt-get install g++"
cargo fuzz --version >/dev/null 2>&1 || fail "no cargo-fuzz; run: cargo install cargo-fuzz --locked"

# Prints the largest input to try for a target, in bytes.
most() {
    case $1 in
        request_head | frames | log_entries) echo 4096 ;;
        *) echo 16384 ;;
    esac
}

fuzz=(cargo fuzz)
build=(--fuzz-dir . --sanitizer none)
found=0
for target in "${targets[@]}"; do
    kept=target/corpus/$target
    mkdir -p "$kept" "artifacts/$target"
    if [ "$minimise" ]; then
        # Inputs with a descriptive name stay; the fuzzer names its own by their digest.
        minimised=target/minimised/$target
        rm -rf "$minimised"
        mkdir -p "$minimised"
        find "corpus/$target" -type f | grep -Ev '/[0-9a-f]{40}$' | xargs cp -t "$minimised"
        "${fuzz[@]}" run "${build[@]}" "$target" "$minimised" "corpus/$target" "$kept" -- \
            -set_cover_merge=1 -use_counters=0 -max_len="$(most "$target")"
        rm -rf "corpus/$target"
        mv "$minimised" "corpus/$target"
    else
        "${fuzz[@]}" run "${build[@]}" "$target" "$kept" "corpus/$target" -- \
            -max_total_time="$seconds" -max_len="$(most "$target")" -rss_limit_mb=2048 -timeout=10 \
            -dict="dictionaries/$target" -print_final_stats=1 || found=1
    fi
done
exit "$found"
