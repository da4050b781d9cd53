#!/usr/bin/env python3
"""Runs the scenario of protocol version 1 with a browser's WebSocket: opens index.html in a headless Chromium.

    browser.py --url ws://127.0.0.1:8080/ --key-file key.txt --browser /usr/bin/chromium

The key may be in UTILBOT_KEY and the browser in UTILBOT_TEST_BROWSER instead. The key has to be valid for bots and
websites, and no other client may be connected to the gateway. Prints one JSON line for each check, and `ok` at the end.
On a failure, prints one line on standard error and exits with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.server
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

START_DEADLINE_S = 60
STOP_DEADLINE_S = 10
DEADLINE_S = 120

HERE = Path(__file__).resolve().parent
FILES = {
    "/": (HERE / "index.html", "text/html; charset=utf-8"),
    "/scenario.mjs": (HERE.parent / "js" / "scenario.mjs", "text/javascript; charset=utf-8"),
}

FLAGS = [
    "--headless",
    "--no-sandbox",  # the only page is ours, and the sandbox does not work for root or in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
]


class Failed(Exception):
    """The browser did not start, or the page reported a failure."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves only the page and its module."""

    def do_GET(self) -> None:
        if self.path not in FILES:
            self.send_error(404)
            return
        path, content_type = FILES[self.path]
        body = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def page() -> Iterator[str]:
    """Serves the page on a free port, and yields its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


@contextlib.asynccontextmanager
async def chromium(binary: str) -> AsyncIterator[str]:
    """Runs a headless browser with an empty profile, and yields its DevTools address."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            binary,
            *FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": profile},
            start_new_session=True,
        )
        draining = None
        try:
            address = await asyncio.wait_for(devtools_address(process.stderr), START_DEADLINE_S)
            # The browser keeps writing its log, and would block if nothing read it.
            draining = asyncio.create_task(process.stderr.read())
            yield address
        except asyncio.TimeoutError:
            raise Failed(f"{binary} was not ready within {START_DEADLINE_S} s") from None
        finally:
            await stop(process)
            if draining:
                draining.cancel()


async def stop(process: asyncio.subprocess.Process) -> None:
    """Lets the browser end its own processes, then kills the remaining ones."""
    with contextlib.suppress(ProcessLookupError, asyncio.TimeoutError):
        process.terminate()
        await asyncio.wait_for(process.wait(), STOP_DEADLINE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def devtools_address(log: asyncio.StreamReader) -> str:
    """Reads the browser's log up to the line that names the DevTools address."""
    seen = []
    while line := (await log.readline()).decode(errors="replace"):
        if line.startswith("DevTools listening on "):
            return line.split()[-1]
        seen.append(line)
    raise Failed("the browser ended at once: " + "".join(seen[-5:]).strip())


class DevTools:
    """The few calls of the DevTools protocol that open a page and run a script in it."""

    def __init__(self, socket) -> None:
        self.socket = socket
        self.ids = itertools.count(1)
        self.session: str | None = None
        self.events: list[str] = []

    async def call(self, method: str, **parameters: object) -> dict:
        call_id = next(self.ids)
        request = {"id": call_id, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        await self.socket.send(json.dumps(request))
        while True:
            answer = await self.next()
            if answer.get("id") == call_id:
                if "error" in answer:
                    raise Failed(f"{method}: {answer['error']['message']}")
                return answer["result"]

    async def next(self) -> dict:
        answer = json.loads(await self.socket.recv())
        if "method" in answer:
            self.events.append(answer["method"])
        return answer

    async def open(self, url: str) -> None:
        """Opens a page and waits until its modules have run."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        await self.call("Page.enable")
        self.events.clear()
        await self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self.events:
            await self.next()

    async def evaluate(self, expression: str) -> dict:
        """Returns the value that a promise in the page resolves to."""
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise Failed(f"the page threw: {json.dumps(result['exceptionDetails'])}")
        return result["result"]["value"]


async def run(options: argparse.Namespace, key: str) -> None:
    with page() as page_url:
        async with chromium(options.browser) as address:
            async with connect(address, proxy=None, max_size=None, ping_interval=None) as socket:
                devtools = DevTools(socket)
                await devtools.open(page_url)
                outcome = await devtools.evaluate(f"walk({json.dumps(options.url)}, {json.dumps(key)})")
    for line in outcome["checked"]:
        print(json.dumps({"client": "browser", **line}))
    if "error" in outcome:
        raise Failed(outcome["error"])


async def run_with_deadline(options: argparse.Namespace, key: str) -> None:
    try:
        await asyncio.wait_for(run(options, key), DEADLINE_S)
    except asyncio.TimeoutError:
        raise Failed(f"not done within {DEADLINE_S} s") from None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="ws:// or wss:// without a query")
    parser.add_argument("--key-file", type=Path, help="file that holds the key alone")
    parser.add_argument("--browser", default=os.environ.get("UTILBOT_TEST_BROWSER"), help="a Chromium or Chrome")
    options = parser.parse_args(arguments)
    key = options.key_file.read_text().strip() if options.key_file else os.environ.get("UTILBOT_KEY")
    if not key:
        parser.error("no key: give --key-file or UTILBOT_KEY")
    if not options.browser:
        parser.error("no browser: give --browser or UTILBOT_TEST_BROWSER")
    try:
        asyncio.run(run_with_deadline(options, key))
    except (Failed, OSError, ConnectionClosed) as problem:
        print(f"failed: {problem}", file=sys.stderr)
        return 1
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
