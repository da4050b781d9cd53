#!/usr/bin/env python3
"""Runs the Autobahn cases of the `kosoku` package against the echo listener of a node.

Two suites, each on a node of its own:

* core: groups 1 to 7 and 10, with the default limits (247 cases, three of them informational by design);
* sizes: group 9, messages of up to 16 MiB, with the limits raised (54 cases).

Groups 12 and 13 test compression, which the gateway does not negotiate. Every case must be OK, including its close;
"non-strict" counts as a failure. The exit code is 0 if all cases passed, 1 if not, and 2 for invalid arguments.

    run.py --binary target/debug/gateway-node
    run.py --binary target/debug/gateway-node --cases '6.4.*' --cases 7.1.5 --verbose
    run.py --address 127.0.0.1:9001 --cases '1.*'       # against a listener that is already running
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fnmatch
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kosoku import FailureError, run_fuzzingclient
from kosoku._report import write_reports
from kosoku.cases import CASES

START_DEADLINE_S = 30
STOP_DEADLINE_S = 20


class Problem(Exception):
    """An error that fails the run as a whole, as opposed to a failed case."""


@dataclass(frozen=True)
class Suite:
    """Cases that run against one node."""

    name: str
    groups: tuple[str, ...]
    count: int
    deadline_s: int
    # These cases have no right or wrong behaviour and always end as INFORMATIONAL.
    informational: frozenset[str] = frozenset()
    environment: dict[str, str] = field(default_factory=dict)

    def select(self, patterns: Sequence[str]) -> list[str]:
        """Returns the ids of this suite's cases that match one of the patterns."""
        mine = [case for case in CASES if group_of(case) in self.groups]
        if len(mine) != self.count:
            raise Problem(f"suite {self.name} has {len(mine)} cases instead of {self.count}")
        return [case for case in mine if any(fnmatch.fnmatchcase(case, p) for p in patterns)]


SUITES = (
    Suite(
        name="core",
        groups=("1", "2", "3", "4", "5", "6", "7", "10"),
        count=247,
        deadline_s=180,
        informational=frozenset({"7.1.6", "7.13.1", "7.13.2"}),
    ),
    Suite(
        name="sizes",
        groups=("9",),
        count=54,
        deadline_s=300,
        environment={
            "UTILBOT__LIMITS__MESSAGE_BYTES": "33554432",
            "UTILBOT__LIMITS__OUTBOX_BYTES": "134217728",
            "UTILBOT__LIMITS__OUTBOX_AGE_MS": "60000",
        },
    ),
)

GROUP_NAMES = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "close handshake",
    "9": "sizes",
    "10": "auto-fragmentation",
}


def group_of(case_id: str) -> str:
    return case_id.split(".", 1)[0]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one case."""

    case: str
    kind: str  # "ok", "informational" or "failed"
    milliseconds: int
    detail: str


def judge(result, suite: Suite) -> Verdict:
    """Compares the reported result of a case with the required one."""
    behavior, close = result.behavior.value, result.behavior_close.value
    detail = f"behaviour {behavior}, close {close}: {result.result} / {result.result_close}"
    if result.case_id in suite.informational:
        good = behavior == "INFORMATIONAL" and close in ("OK", "INFORMATIONAL")
        kind = "informational" if good else "failed"
    else:
        kind = "ok" if (behavior, close) == ("OK", "OK") else "failed"
    return Verdict(result.case_id, kind, result.duration, detail)


async def run_cases(address: str, suite: Suite, cases: list[str], jobs: int, report: Path) -> list[Verdict]:
    """Runs the cases against a listener and checks that each of them ran once."""
    running = run_fuzzingclient(f"ws://{address}", cases, None, concurrency=jobs)
    try:
        results = await asyncio.wait_for(running, suite.deadline_s)
    except FailureError as failure:
        results = failure.results
    except asyncio.TimeoutError:
        raise Problem(f"suite {suite.name} did not end within {suite.deadline_s} s") from None
    write_reports(results, str(report / suite.name))
    ran = sorted(result.case_id for result in results)
    if ran != sorted(cases):
        raise Problem(f"suite {suite.name} ran {len(ran)} cases instead of {len(cases)}")
    return [judge(result, suite) for result in results]


@contextlib.asynccontextmanager
async def node(binary: Path, suite: Suite, report: Path) -> AsyncIterator[str]:
    """Starts a node with an echo listener and yields its address, then stops the node and checks its exit code."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UTILBOT__")}
    environment |= {
        "UTILBOT__SERVER__BIND": "127.0.0.1:0",
        "UTILBOT__TEST__ECHO_BIND": "127.0.0.1:0",
        **suite.environment,
    }
    log_path = report / f"node-{suite.name}.log"
    with tempfile.TemporaryDirectory() as empty, open(log_path, "wb") as log:
        process = await asyncio.create_subprocess_exec(
            binary,
            env=environment,
            cwd=empty,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            yield await echo_address(process, log_path)
            if process.returncode is not None:
                raise Problem(f"the node ended by itself with {process.returncode}; see {log_path}")
            process.send_signal(signal.SIGTERM)
            try:
                # Also drains standard output, so that the node cannot block on a full pipe.
                await asyncio.wait_for(process.communicate(), STOP_DEADLINE_S)
            except asyncio.TimeoutError:
                raise Problem(f"the node was still running {STOP_DEADLINE_S} s after SIGTERM; see {log_path}") from None
            if process.returncode != 0:
                raise Problem(f"the node ended with {process.returncode} after SIGTERM; see {log_path}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def echo_address(process: asyncio.subprocess.Process, log_path: Path) -> str:
    """Returns the address of the echo listener, from the first line that the node prints."""
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_DEADLINE_S)
    except asyncio.TimeoutError:
        raise Problem(f"the node printed nothing within {START_DEADLINE_S} s; see {log_path}") from None
    try:
        listening = json.loads(line)
        if listening["event"] == "listening":
            return listening["echo_address"]
    except (ValueError, KeyError, TypeError):
        pass
    raise Problem(f"the node's first line names no echo listener: {line!r}; see {log_path}")


def print_table(verdicts: list[Verdict]) -> None:
    """Prints one line for each group."""
    print(f"{'group':<24}{'cases':>7}{'ok':>7}{'info':>7}{'failed':>8}{'seconds':>9}")
    for group, name in GROUP_NAMES.items():
        mine = [verdict for verdict in verdicts if group_of(verdict.case) == group]
        if not mine:
            continue
        kinds = [verdict.kind for verdict in mine]
        counts = f"{len(mine):>7}{kinds.count('ok'):>7}{kinds.count('informational'):>7}{kinds.count('failed'):>8}"
        print(f"{group + ' ' + name:<24}{counts}{sum(v.milliseconds for v in mine) / 1000:>9.1f}")


async def run(options: argparse.Namespace) -> bool:
    """Runs the selected cases. Returns whether all of them passed."""
    started = time.monotonic()
    options.report.mkdir(parents=True, exist_ok=True)
    verdicts: list[Verdict] = []
    for suite in SUITES:
        cases = suite.select(options.cases)
        if not cases:
            continue
        if options.address:
            verdicts += await run_cases(options.address, suite, cases, options.jobs, options.report)
        else:
            async with node(options.binary.resolve(), suite, options.report) as address:
                verdicts += await run_cases(address, suite, cases, options.jobs, options.report)
    if not verdicts:
        raise Problem("no case matches")

    print_table(verdicts)
    for verdict in verdicts:
        if options.verbose or verdict.kind == "failed":
            print(f"{verdict.kind} {verdict.case} {verdict.detail}")
    kinds = [verdict.kind for verdict in verdicts]
    print(
        f"conformance: {kinds.count('ok')} ok, {kinds.count('informational')} informational, "
        f"{kinds.count('failed')} failed of {len(kinds)} cases in {time.monotonic() - started:.1f} s; "
        f"reports in {options.report}"
    )
    return "failed" not in kinds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--binary", type=Path, metavar="PATH", help="the gateway-node to start")
    target.add_argument("--address", metavar="HOST:PORT", help="an echo listener that is already running")
    parser.add_argument(
        "--cases", action="append", metavar="GLOB", help="case id or pattern; repeatable (default: all)"
    )
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="cases at once (default: 4)")
    parser.add_argument(
        "--report", type=Path, default=Path("target/conformance"), metavar="DIR", help="folder for reports and logs"
    )
    parser.add_argument("--verbose", action="store_true", help="print a line for every case")
    options = parser.parse_args(arguments)
    options.cases = options.cases or ["*"]
    try:
        return 0 if asyncio.run(run(options)) else 1
    except (Problem, OSError) as problem:
        print(f"conformance: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
