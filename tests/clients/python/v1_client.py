#!/usr/bin/env python3
"""Runs the scenario of protocol version 1 with Python's `websockets`, in plain text and with `compression=zlib`.

    v1_client.py --url ws://127.0.0.1:8080/ --key-file key.txt      (or the key in UTILBOT_KEY)

The key has to be valid for bots and websites, and no other client may be connected to the gateway. Prints one JSON line
for each check, and `ok` at the end. On a failure, prints one line on standard error and exits with 1.

That a client does not receive an event is shown without waiting: all clients receive events in the same order, so one
that receives a later event without the earlier one was not sent the earlier one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import zlib
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

T = TypeVar("T")

WAIT_S = 15
DEADLINE_S = 120


class Failed(Exception):
    """The gateway did not behave as the protocol page says."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise Failed(message)


async def within(awaitable: Awaitable[T], what: str, seconds: float = WAIT_S) -> T:
    """Awaits something, and fails after a deadline."""
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.TimeoutError:
        raise Failed(f"{what}: not done within {seconds} s") from None


class Client:
    """One connection, in one of the two encodings."""

    def __init__(self, name: str, socket: ClientConnection, compressed: bool) -> None:
        self.name = name
        self.socket = socket
        self.compressed = compressed
        self.id = ""
        self.heartbeat_interval = 0

    @classmethod
    async def open(cls, name: str, url: str, compressed: bool) -> Client:
        query = "?v=1&compression=zlib" if compressed else "?v=1"
        socket = await within(connect(url + query, proxy=None), f"{name}: connecting")
        client = cls(name, socket, compressed)
        check("Sec-WebSocket-Extensions" not in socket.response.headers, f"{name}: an extension was negotiated")
        hello = await client.receive()
        interval = hello.get("d", {}).get("heartbeat")
        check(isinstance(interval, int) and interval > 0, f"{name}: no heartbeat interval in {hello}")
        check(hello == {"op": 5, "d": {"heartbeat": interval, "hearbeat": interval}}, f"{name}: not a Hello: {hello}")
        client.heartbeat_interval = interval
        return client

    async def send(self, payload: object, *, as_text: bool = False) -> None:
        """Sends a payload. A compressed connection may send text too."""
        text = payload if isinstance(payload, str) else json.dumps(payload)
        compressed = self.compressed and not as_text
        await within(self.socket.send(zlib.compress(text.encode()) if compressed else text), f"{self.name}: sending")

    async def receive(self) -> dict:
        """Returns the next packet."""
        try:
            message = await within(self.socket.recv(), f"{self.name}: waiting for a packet")
        except ConnectionClosed as closed:
            raise Failed(f"{self.name}: closed while waiting for a packet: {closed}") from None
        if self.compressed:
            check(isinstance(message, bytes), f"{self.name}: a text message on a compressed connection: {message!r}")
            stream = zlib.decompressobj()
            message = stream.decompress(message)
            check(stream.eof and not stream.unused_data, f"{self.name}: a packet is not one complete zlib stream")
        else:
            check(isinstance(message, str), f"{self.name}: a binary message on a plain connection: {message!r}")
        return json.loads(message)

    async def expect(self, expected: dict) -> None:
        """Expects this packet next. A bot may receive totals before it; other clients may not."""
        packet = await self.receive()
        while self.name.startswith("bot") and packet.get("t") == "GLOBAL_GUILD_COUNT":
            packet = await self.receive()
        check(packet == expected, f"{self.name}: expected {json.dumps(expected)}, got {json.dumps(packet)}")

    async def expect_event(self, event: str, data: dict) -> None:
        await self.expect({"op": 0, "t": event, "d": data})

    async def expect_totals(self, guilds: int, members: int, cached: int) -> None:
        """Waits for these totals. Older totals may come first, because totals are coalesced, but no other packets."""
        wanted = {"guilds": guilds, "guildMembers": members, "cachedGuildMembers": cached}
        while True:
            packet = await self.receive()
            check(
                packet.get("op") == 0 and packet.get("t") == "GLOBAL_GUILD_COUNT",
                f"{self.name}: expected totals, got {json.dumps(packet)}",
            )
            check(packet["d"].keys() == wanted.keys(), f"{self.name}: wrong fields in totals: {json.dumps(packet)}")
            if packet["d"] == wanted:
                return

    async def heartbeat(self) -> None:
        await self.send({"op": 10}, as_text=True)
        await self.expect({"op": 11})

    async def emit(self, event: str, data: dict) -> None:
        await self.send({"op": 1, "t": event, "d": data})

    async def identify(self, kind: str, key: str) -> None:
        await self.emit("identify", {"type": kind, "key": key})
        packet = await self.receive()
        check(
            packet.get("op") == 0 and packet.get("t") == f"{kind}_connect_success",
            f"{self.name}: expected {kind}_connect_success, got {json.dumps(packet)}",
        )
        data = packet["d"]
        self.id = data.get("id")
        check(isinstance(self.id, str) and self.id.isdecimal(), f"{self.name}: id is not a string of digits: {data}")
        check(bool(data.get("node")), f"{self.name}: no node name: {data}")
        check(data.get("heartbeat") == self.heartbeat_interval, f"{self.name}: not the interval of Hello: {data}")

    async def close(self) -> None:
        await within(self.socket.close(1000), f"{self.name}: closing")
        received = self.socket.protocol.close_rcvd
        check(received is not None and received.code == 1000, f"{self.name}: close was answered by {received}")


async def walk(url: str, key: str, encoding: str) -> None:
    """Runs the scenario in one encoding."""
    compressed = encoding == "zlib"

    def passed(what: str) -> None:
        print(json.dumps({"client": "python", "encoding": encoding, "checked": what}), flush=True)

    bot_a = await Client.open("bot a", url, compressed)
    passed("hello with both spellings")

    await bot_a.send("this is not JSON")
    await bot_a.emit("send_servers", {"guilds": 7000})
    await bot_a.heartbeat()
    passed("before identify only heartbeats are answered")

    await bot_a.identify("bot", key)
    first = await bot_a.receive()
    check(first.get("t") == "GLOBAL_GUILD_COUNT", f"bot a: expected totals after the success, got {json.dumps(first)}")
    passed("bot_connect_success with an id of digits, then totals")

    await bot_a.heartbeat()
    await within(await bot_a.socket.ping(), "bot a: waiting for a pong")
    passed("heartbeat and ping are answered")

    bot_b = await Client.open("bot b", url, compressed)
    await bot_b.identify("bot", key)
    website_a = await Client.open("website a", url, compressed)
    await website_a.identify("website", key)
    website_b = await Client.open("website b", url, compressed)
    await website_b.identify("website", key)
    clients = [bot_a, bot_b, website_a, website_b]
    check(len({client.id for client in clients}) == 4, "two live sessions share an id")
    passed("website_connect_success, every id unique")

    await bot_a.emit("send_servers", {"guilds": ["100", "200"], "guildMembers": 50000, "cachedGuildMembers": 30000})
    await bot_b.emit("send_servers", {"guilds": 998, "guildMembers": 5555, "cachedGuildMembers": 2000})
    await bot_a.expect_totals(1000, 55555, 32000)
    await bot_b.expect_totals(1000, 55555, 32000)
    passed("totals are the sums of the reports")

    await bot_b.emit("send_servers", {"guilds": [200, "300"], "guildMembers": 5})
    await bot_a.expect_totals(3, 50005, 30000)
    await bot_b.expect_totals(3, 50005, 30000)
    passed("a report replaces the previous one, an id counts once")

    # Website a sends three events, and website b one after it has received the first. Each client gets, in order:
    first = {"text": "grüße 👋 \u0000 \"quoted\"", "nested": [1, -2.5, None, True, {"deep": []}]}
    only_b = {"guildId": "300", "settings": {"prefix": "!"}}
    both_bots = {"guildId": 200, "settings": {"prefix": "?"}}
    await website_a.emit("announce", first)
    await website_a.emit("guild_settings_changed", only_b)
    await website_a.emit("guild_settings_changed", both_bots)

    await bot_a.expect_event("announce", first)
    await bot_a.expect_event("guild_settings_changed", both_bots)
    await bot_b.expect_event("announce", first)
    await bot_b.expect_event("guild_settings_changed", only_b)
    await bot_b.expect_event("guild_settings_changed", both_bots)
    await website_b.expect_event("announce", first)
    passed("guild_settings_changed reaches only the bots that reported the guild")

    await website_b.emit("announce", {"marker": 1})
    for client in (bot_a, bot_b, website_a):
        await client.expect_event("announce", {"marker": 1})
    await website_a.emit("announce", {"marker": 2})
    for client in (bot_a, bot_b, website_b):
        await client.expect_event("announce", {"marker": 2})
    passed("announce reaches every bot and the other website, and never its sender")

    stranger = await Client.open("stranger", url, compressed)
    await stranger.emit("identify", {"type": "bot", "key": "nobody.knows-this-key"})
    error = await stranger.receive()
    is_refusal = error.get("op") == -1 and error.get("e") == 4001 and bool(error.get("m"))
    check(is_refusal, f"stranger: expected 4001, got {error}")
    check("nobody.knows-this-key" not in json.dumps(error), "stranger: the key was echoed")
    await within(stranger.socket.wait_closed(), "stranger: waiting for the close")
    check(stranger.socket.close_code == 4001, f"stranger: closed with {stranger.socket.close_code} instead of 4001")
    passed("a wrong key is error 4001 and close code 4001")

    await bot_b.close()
    await bot_a.expect_totals(2, 50000, 30000)
    passed("the report of a disconnected bot is removed from the totals")

    for client in (website_b, website_a, bot_a):
        await client.close()
    passed("close is answered with the client's code")


def read_key(path: Path | None) -> str:
    key = path.read_text().strip() if path else os.environ.get("UTILBOT_KEY", "")
    check(key != "", "no key: give --key-file or UTILBOT_KEY")
    return key


async def run(options: argparse.Namespace) -> None:
    key = read_key(options.key_file)
    for encoding in ("plain", "zlib"):
        await walk(options.url, key, encoding)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="ws:// or wss:// without a query")
    parser.add_argument("--key-file", type=Path, help="file that holds the key alone")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(within(run(options), "the whole scenario", DEADLINE_S))
    except (Failed, OSError, ConnectionClosed) as problem:
        print(f"failed: {problem}", file=sys.stderr)
    else:
        print("ok")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
