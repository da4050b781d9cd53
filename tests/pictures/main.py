#!/usr/bin/env python3
"""Runs a cluster under load, and draws its dashboard and its alerts. run.sh calls it."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import tempfile
import time
from pathlib import Path

from draw import draw_alerts, draw_dashboard
from load import Load
from processes import SCRAPE_S, Processes, until
from queries import alerts, panels

DASHBOARD = Path(__file__).resolve().parents[2] / "deploy/grafana/gateway.json"
# How long the run takes at least, and how much of it the pictures show.
RUN_S = 200


async def trouble(processes: Processes, load: Load, begin: float) -> None:
    """What happens during the run, each at its second."""

    async def at(second: float) -> None:
        await asyncio.sleep(max(0, begin + second - time.monotonic()))

    await at(45)
    print("node-2 is killed", flush=True)
    await processes.end("node-2", signal.SIGKILL)
    await at(65)
    await processes.node("node-2")
    await until("node-2 is ready", lambda: processes.is_ready("node-2"))
    await at(80)
    print("node-3 is restarted", flush=True)
    await processes.end("node-3", signal.SIGTERM)
    await processes.node("node-3")
    await until("node-3 is ready", lambda: processes.is_ready("node-3"))
    await at(100)
    print("Redis stops", flush=True)
    await processes.end("redis", signal.SIGTERM)
    await at(112)
    await processes.redis()
    await at(130)
    print("clients of node-1 stop reading", flush=True)
    slow = asyncio.create_task(load.slow_readers())
    await at(160)
    print("node-1 is full", flush=True)
    crowd = asyncio.create_task(load.crowd(110, 25))
    await at(180)
    print("node-3 is killed", flush=True)
    await processes.end("node-3", signal.SIGKILL)
    await crowd
    await at(RUN_S)
    slow.cancel()


async def run(gateway: str, folder: Path) -> dict:
    """Runs the cluster, and returns what its pictures show."""
    dashboard = json.loads(DASHBOARD.read_text())
    processes = Processes(folder, gateway)
    try:
        await processes.start_all()
        begin, start = time.monotonic(), time.time()
        async with Load(processes.ports["clients"], processes.ports["node-1"]) as load:
            load.start()
            await trouble(processes, load, begin)
            end = time.time()
            return {
                "title": dashboard["title"],
                "panels": await panels(dashboard, processes.ask, start, end, SCRAPE_S),
                "rules": await alerts(processes.ask, start, end),
                "start": start,
                "end": end,
            }
    finally:
        await processes.end_all()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", required=True, help="the node's binary")
    parser.add_argument("--uplot", required=True, type=Path, help="the folder dist of uPlot")
    parser.add_argument("--to", required=True, type=Path, help="the folder of the pictures")
    parser.add_argument("--data", required=True, type=Path, help="the file for what the pictures show")
    parser.add_argument("--again", action="store_true", help="draw what is in that file, without a run")
    options = parser.parse_args()
    if not options.again:
        with tempfile.TemporaryDirectory() as folder:
            shown = await run(str(Path(options.gateway).resolve()), Path(folder))
        options.data.write_text(json.dumps(shown))
    shown = json.loads(options.data.read_text())
    await draw_dashboard(shown, options.uplot, options.to / "dashboard.png")
    await draw_alerts(shown, options.to / "alerts.png")


if __name__ == "__main__":
    asyncio.run(main())
