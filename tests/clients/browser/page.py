#!/usr/bin/env python3
"""Opens a page in a headless Chromium and evaluates expressions in it.

    page.py --url http://127.0.0.1:3000/ --browser /usr/bin/chromium

Reads one JavaScript expression from each line of standard input, and prints what it, or the promise that it returns,
evaluates to, as one line of JSON. Ends with standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

from browser import DEADLINE_S, DevTools, Failed, chromium
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def run(options: argparse.Namespace) -> None:
    async with chromium(options.browser) as address:
        async with connect(address, proxy=None, max_size=None, ping_interval=None) as socket:
            devtools = DevTools(socket)
            await asyncio.wait_for(devtools.open(options.url), DEADLINE_S)
            print(json.dumps("opened"), flush=True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                value = await asyncio.wait_for(devtools.evaluate(line), DEADLINE_S)
                print(json.dumps(value), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the page")
    parser.add_argument("--browser", required=True, help="a Chromium or Chrome")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(run(options))
    except (Failed, OSError, ConnectionClosed, asyncio.TimeoutError) as problem:
        print(f"failed: {problem!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
