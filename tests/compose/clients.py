"""Clients that stay connected through the balancer, and what they have seen."""

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
    """How a connection ended, and what was said before."""

    node: str
    code: int | None
    error: dict | None


class Client:
    """A bot that stays connected: whatever ends its connection, it comes back. It reports one guild."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        self.node: str | None = None
        self.totals: int | None = None
        self.seen: Counter[str] = Counter()
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
                # The balancer has no node for us at the moment.
                pass
            await asyncio.sleep(0.2)

    async def live(self) -> None:
        """One connection, from the handshake to its end."""
        error = None
        # A handshake takes as long as the balancer looks for a node; a client that hangs is told apart from a slow one.
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
            self.seen[data["n"]] += 1
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
    """The clients, and what is known of them."""

    def __init__(self, engine: Engine, key: str) -> None:
        self.engine = engine
        self.key = key
        self.clients: list[Client] = []
        self.published = 0

    async def join(self, count: int) -> list[Client]:
        """Connects clients one after the other, as they would come."""
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
        """Publishes over HTTP, through the balancer; again where the cluster says that it could not."""
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

    async def everybody_sees(self, *names: str, but: Client | None = None) -> None:
        """Each of these events exactly once at every client, and never at its sender. One more event closes the list."""
        marker = await self.publish()
        await until(lambda: all(client.seen[marker] for client in self.clients), f"{marker} at every client")
        for client in self.clients:
            for name in (*names, marker):
                expected = 0 if client is but and name != marker else 1
                times = client.seen[name]
                check(times == expected, f"{client.name} on {client.node} has {name} {times} times, not {expected}")

    async def totals_are_right(self) -> None:
        """Every bot counts once: none is missing, and none that is gone is left."""
        count = len(self.clients)
        try:
            await until(lambda: all(client.totals == count for client in self.clients), f"{count} in all totals")
        except Failed as failed:
            totals = {client.name: client.totals for client in self.clients}
            raise Failed(f"{failed}; they are {totals}") from None
