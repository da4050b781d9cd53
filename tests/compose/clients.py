"""Clients that stay connected through the balancer, and record what they receive."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass

from engine import Engine
from failure import WAIT_S, Failed, check, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

PORT = os.environ["UTILBOT_PORT"]


@dataclass
class Ending:
    """How a connection ended: its node, the close code, and the Error before it."""

    node: str
    code: int | None
    error: dict | None


class Client:
    """A bot that reports one guild, and reconnects whenever its connection ends."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        self.node: str | None = None
        self.totals: int | None = None
        self.received: Counter[str] = Counter()
        self.order: list[str] = []
        self.endings: list[Ending] = []
        self.socket: ClientConnection | None = None
        self.task: asyncio.Task | None = None

    def start(self) -> Client:
        self.task = asyncio.create_task(self.stay())
        return self

    async def stop(self) -> None:
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        if self.socket:
            await self.socket.close()

    async def stay(self) -> None:
        while True:
            try:
                await self.live()
            except (OSError, InvalidHandshake, ConnectionClosed, asyncio.TimeoutError):
                # The balancer has no node available at the moment.
                pass
            await asyncio.sleep(0.2)

    async def live(self) -> None:
        """Runs one connection from the handshake to its end."""
        error = None
        # The balancer may take some seconds to find a node. The timeout is longer, so it only ends a client that hangs.
        async with connect(f"ws://127.0.0.1:{PORT}/?v=1", proxy=None, open_timeout=15) as socket:
            self.socket = socket
            beats = asyncio.create_task(self.beat(socket))
            try:
                await self.send("identify", {"type": "bot", "key": self.key})
                async for message in socket:
                    packet = json.loads(message)
                    if packet["op"] == -1:
                        error = packet
                    elif packet["op"] == 0:
                        await self.take(packet["t"], packet["d"])
            except ConnectionClosed:
                pass
            finally:
                beats.cancel()
                if self.node is not None:
                    self.endings.append(Ending(self.node, socket.close_code, error))
                self.node = self.totals = self.socket = None

    async def take(self, event: str, data: dict) -> None:
        if event == "bot_connect_success":
            self.node = data["node"]
            await self.send("send_servers", {"guilds": 1})
        elif event == "GLOBAL_GUILD_COUNT":
            self.totals = data["guilds"]
        elif event == "announce":
            self.received[data["n"]] += 1
            self.order.append(data["n"])

    async def send(self, event: str, data: dict) -> None:
        check(self.socket, f"{self.name} is not connected")
        await self.socket.send(json.dumps({"op": 1, "t": event, "d": data}))

    @staticmethod
    async def beat(socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(20)
            await socket.send('{"op":10}')


class Cluster:
    """The clients of the cluster, and checks of what they received."""

    def __init__(self, engine: Engine, key: str) -> None:
        self.engine = engine
        self.key = key
        self.clients: list[Client] = []
        self.published = 0

    async def join(self, count: int) -> list[Client]:
        """Connects clients one after the other."""
        new = []
        for _ in range(count):
            client = Client(f"bot {len(self.clients)}", self.key).start()
            await until(lambda: client.node, f"{client.name} is connected")
            self.clients.append(client)
            new.append(client)
        return new

    def on(self, node: str) -> list[Client]:
        return [client for client in self.clients if client.node == node]

    def spread(self) -> str:
        counts = Counter(client.node for client in self.clients)
        return ", ".join(f"{count} on {node}" for node, count in sorted(counts.items(), key=str))

    def name(self) -> str:
        self.published += 1
        return f"event {self.published}"

    async def publish(self) -> str:
        """Publishes an event over HTTP through the balancer, and retries on 503. Returns its name."""
        name = self.name()
        body = json.dumps({"t": "announce", "d": {"n": name}}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{PORT}/api/v1/events",
            body,
            {"authorization": f"Bearer {self.key}", "content-type": "application/json"},
        )
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                await asyncio.to_thread(urllib.request.urlopen, request, timeout=15)
                return name
            except urllib.error.HTTPError as refusal:
                check(refusal.code == 503 and time.monotonic() < deadline, f"publishing: HTTP {refusal.code}")
            await asyncio.sleep(0.2)

    async def every_client_receives(self, *names: str, except_for: Client | None = None) -> None:
        """Checks that every client receives each of these events exactly once, and `except_for` none of them.

        One more event marks the end: it arrives after all of them.
        """
        marker = await self.publish()
        await until(lambda: all(client.received[marker] for client in self.clients), f"{marker} at every client")
        for client in self.clients:
            for name in (*names, marker):
                expected = 0 if client is except_for and name != marker else 1
                times = client.received[name]
                check(times == expected, f"{client.name} on {client.node} has {name} {times} times, not {expected}")

    async def totals_are_right(self) -> None:
        """Waits until the totals of every bot count exactly the connected bots."""
        count = len(self.clients)
        try:
            await until(lambda: all(client.totals == count for client in self.clients), f"{count} in all totals")
        except Failed as failed:
            totals = {client.name: client.totals for client in self.clients}
            raise Failed(f"{failed}; they are {totals}") from None
