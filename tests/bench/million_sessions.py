#!/usr/bin/env python3
"""Computes what a million sessions take from results of the comparison tools.

    target/release/idle --sockets 19000 --contenders gateway,discord --json idle.json
    target/release/beat --contenders gateway --json beat.json
    target/release/fanout --sockets 10000 --contenders gateway,discord --json fanout.json
    tests/bench/million_sessions.py idle.json beat.json fanout.json

Reads the median of each figure. The result is an estimate: no run has had a million sessions. It leaves out the kernel's
own memory for the sockets, and takes for granted that a core does the same work for each of them as for fewer.

Exit code 0 on success, 1 if a figure is missing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SESSIONS = 1_000_000
# The interval of heartbeats that the gateway asks for by default, in seconds.
HEARTBEAT_S = {"gateway": 60.0, "discord": 41.25}
# What Centrifugo's documentation says a connection takes, in KB. Not measured here.
CENTRIFUGO_KB = (27, 30)


def median(path: str, contender: str, figure: str) -> float | None:
    """Returns the median of a contender's figure, or None if it did not take part."""
    table = json.loads(Path(path).read_text(encoding="utf-8"))["table"]
    for row in table["rows"]:
        if row["contender"] == contender:
            return row["figures"][figure]["median"]
    return None


def lines(idle: str, beat: str, fanout: str) -> list[str]:
    """Returns the lines of the result."""
    found = [f"{SESSIONS:,} sessions, computed from {idle}, {beat} and {fanout}:"]
    beat_us = median(beat, "gateway", "cpu_us_per_beat")
    if beat_us is None:
        raise KeyError(f"{beat}: gateway")
    for contender, name in [("gateway", "version 1"), ("discord", "Discord's protocol")]:
        kib = median(idle, contender, "kib_per_client")
        if kib is None:
            if contender == "gateway":
                raise KeyError(f"{idle}: gateway")
            continue
        found.append(f"{name}: {kib * SESSIONS / 2**20:.2f} GiB of the nodes' memory ({kib:.2f} KiB each)")
        every = HEARTBEAT_S[contender]
        cores = beat_us * SESSIONS / every / 1e6
        found.append(f"{name}: {cores:.2f} cores for a heartbeat of each every {every:g} s ({beat_us:.1f} us each)")
        us = median(fanout, contender, "cpu_us_per_delivery")
        if us is not None:
            found.append(f"{name}: {us * SESSIONS / 1e6:.1f} s of one core for an event to all of them ({us:.2f} us each)")
    least, most = (kb * 1000 * SESSIONS / 2**30 for kb in CENTRIFUGO_KB)
    low, high = CENTRIFUGO_KB
    found.append(f"Centrifugo, as published and not measured here: {least:.0f} to {most:.0f} GiB ({low} to {high} KB each)")
    return found


def main() -> int:
    """Prints the result."""
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 1
    try:
        print("\n".join(lines(*sys.argv[1:])))
    except (OSError, KeyError, ValueError) as error:
        print(f"cannot compute it: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
