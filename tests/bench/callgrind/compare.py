#!/usr/bin/env python3
"""Compares callgrind's counts for the program `hot` with a baseline, or writes a new baseline; called by run.sh.

Exit code 0 if no function takes more than its baseline allows, 1 if one does, 2 if the counts cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections import defaultdict
from pathlib import Path

# A function fails above this multiple of its baseline.
BOUND = 1.03
STEP = re.compile(r"gateway_bench::hot::\w+::(\w+)::step")


def inclusive(profile: str) -> dict[str, int]:
    """Returns the instructions of each step, including the functions it calls.

    An `fn=` line starts the block of a function. In the block, each line that begins with a number is a source line
    with its own cost; the one after `calls=` has the inclusive cost of the called function. Their sum is the inclusive
    cost of the function.
    """
    counts: dict[str, int] = defaultdict(int)
    step = None
    for line in profile.splitlines():
        if line.startswith("fn="):
            match = STEP.fullmatch(line.removeprefix("fn="))
            step = match and match[1]
        elif step and line[:1].isdigit():
            counts[step] += int(line.split()[1])
    return counts


def processor() -> str:
    """Returns the processor features by which glibc selects its functions, as far as valgrind exposes them."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    return " ".join([platform.machine(), *(flag for flag in ("avx", "avx2") if flag in flags)])


def table(counts: dict[str, float], known: dict[str, float]) -> str:
    lines = [f"{'function':<20}{'instructions a call':>20}{'baseline':>12}{'ratio':>8}"]
    for name, count in counts.items():
        before = known.get(name)
        beside = f"{before:>12,.1f}{count / before:>8.3f}" if before else f"{'-':>12}{'-':>8}"
        lines.append(f"{name:<20}{count:>20,.1f}{beside}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", type=Path, required=True, help="output file of callgrind")
    parser.add_argument("--calls", type=Path, required=True, help="output of the program")
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--rustc", required=True, help="output of rustc --version")
    parser.add_argument("--valgrind", required=True, help="output of valgrind --version")
    parser.add_argument("--update", action="store_true", help="write the baseline instead of comparing with it")
    options = parser.parse_args()

    sums = inclusive(options.profile.read_text())
    calls = dict(line.split() for line in options.calls.read_text().splitlines())
    if uncounted := calls.keys() - sums.keys():
        print(f"callgrind did not see {', '.join(sorted(uncounted))}", file=sys.stderr)
        return 2
    counts = {name: round(sums[name] / int(number), 2) for name, number in calls.items()}
    made_with = {
        "rustc": options.rustc.removeprefix("rustc "),
        "valgrind": options.valgrind.removeprefix("valgrind-"),
        "libc": " ".join(platform.libc_ver()),
        "processor": processor(),
    }

    baseline = json.loads(options.baseline.read_text()) if options.baseline.exists() else {}
    known: dict[str, float] = baseline.get("instructions", {})
    print(table(counts, known))
    if options.update:
        written = json.dumps({"made_with": made_with, "instructions": counts}, indent=2)
        options.baseline.write_text(written + "\n")
        return 0

    sys.stdout.flush()
    before = baseline.get("made_with", {})
    if other := [key for key in made_with if made_with[key] != before.get(key)]:
        differences = "; ".join(f"{key} {before.get(key)}, not {made_with[key]}" for key in other)
        print(f"nothing is judged, since the baseline was made with {differences}", file=sys.stderr)
        print("to compare here, run with --update on the commit before a change and without it after", file=sys.stderr)
        return 2
    if counts.keys() != known.keys():
        print("the baseline names other functions; run with --update", file=sys.stderr)
        return 2
    more = [name for name in counts if counts[name] > known[name] * BOUND]
    for name in more:
        print(f"{name} takes {counts[name] / known[name] - 1:.1%} more than its baseline", file=sys.stderr)
    if less := [name for name in counts if counts[name] * BOUND < known[name]]:
        print(f"below the baseline, and --update keeps it there: {', '.join(less)}")
    return 1 if more else 0


if __name__ == "__main__":
    sys.exit(main())
