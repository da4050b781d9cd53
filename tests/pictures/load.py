"""The clients of the run: bots, websites, visitors with tickets, job workers, Discord bots, and clients that misbehave.

They only make traffic, and check nothing: nodes are killed meanwhile, so every connection and request may fail.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
import zlib
from collections.abc import Awaitable, Callable

import aiohttp

from processes import SECRET

GUILDS = [str(guild) for guild in range(100, 160)]
TROUBLE = (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError, TypeError)
SLOW_READERS = 14
HANDSHAKE = (
    b"GET /?v=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def key(name: str) -> str:
    return f"{name}.{SECRET}"


class Load:
    """All clients, behind the balancer at `clients`. Some connect to the node at `direct`."""

    def __init__(self, clients: int, direct: int) -> None:
        self.clients = clients
        self.direct = direct
        self.tasks: list[asyncio.Task] = []

    async def __aenter__(self) -> Load:
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.http.close()

    def keep(self, count: int, client: Callable[[], Awaitable], pause_s: float) -> None:
        """Runs `count` of these clients, each again after a pause whenever it ends."""

        async def forever() -> None:
            await asyncio.sleep(random.uniform(0, 10))
            while True:
                try:
                    await client()
                except TROUBLE:
                    pass
                await asyncio.sleep(random.uniform(0.5, 1.5) * pause_s)

        self.tasks.extend(asyncio.create_task(forever()) for _ in range(count))

    def start(self) -> None:
        self.keep(20, lambda: Client(self, "bot", life_s=90).run(), 1)
        self.keep(6, lambda: Client(self, "bot", jobs=4, compressed=True).run(), 1)
        self.keep(30, lambda: Client(self, "website", life_s=60).run(), 1)
        self.keep(10, lambda: Client(self, "website", compressed=True, life_s=20).run(), 8)
        self.keep(4, self.visitor, 4)
        self.keep(6, self.discord_bot, 2)
        self.keep(4, self.publisher, 0.1)
        self.keep(1, self.clumsy_publisher, 1)
        self.keep(2, self.stranger, 2)
        self.keep(2, self.exporter, 0.2)
        # Away for longer than the log reaches back.
        self.keep(1, lambda: Client(self, "website", life_s=40, away_s=45).run(), 1)

    # ---- over HTTP ----

    async def post(self, path: str, body: object) -> dict:
        headers = {"authorization": f"Bearer {key('backend')}"}
        url = f"http://127.0.0.1:{self.clients}/api/v1/{path}"
        async with self.http.post(url, json=body, headers=headers) as answer:
            return await answer.json()

    async def publisher(self) -> None:
        guild = random.choice(GUILDS)
        message = {"t": "MESSAGE_CREATE", "to": "all", "d": {"id": "1", "channel_id": "2", "content": "hello"}}
        await self.post("events", [{"t": "announce", "d": {"at": time.time()}}, message])
        await self.post("events", {"t": "settings_changed", "d": {"guildId": guild, "prefix": "!"}})
        await self.post("events", {"t": "render", "d": {"guildId": guild}})

    async def clumsy_publisher(self) -> None:
        await self.post("events", {"t": "settings_changed", "d": {"guildId": "999999"}})
        await self.post("events", {"t": "no_such_event", "d": {}})
        if random.random() < 0.03:
            await self.post("events", {"t": "refund", "d": {}})
        await self.post("requests", {"t": "get_settings", "d": {"guildId": random.choice(GUILDS)}})

    async def exporter(self) -> None:
        """Publishes large events for services."""
        await self.post("events", {"t": "export", "d": {"rows": "x" * 100_000}})

    # ---- over sockets ----

    async def visitor(self) -> None:
        """Opens a page with a ticket, and then uses the ticket again."""
        ticket = (await self.post("tickets", {"user": "7", "guilds": GUILDS[:3], "events": ["announce"]}))["ticket"]
        await Client(self, "website", credential=ticket, life_s=8).run()
        await Client(self, "website", credential=ticket, life_s=1).run()

    async def stranger(self) -> None:
        """Makes mistakes: a wrong key, a wrong path, an unknown host, and packets that cannot be read."""
        await Client(self, "bot", credential="bot.wrong", life_s=1).run()
        for path, headers in [("nowhere", {}), ("", {"sec-websocket-version": "12"})]:
            upgrade = {"upgrade": "websocket", "connection": "upgrade", **headers}
            async with self.http.get(f"http://127.0.0.1:{self.clients}/{path}", headers=upgrade) as answer:
                await answer.read()
        async with self.http.ws_connect(f"ws://127.0.0.1:{self.clients}/?v=1") as web_socket:
            await web_socket.send_json({"op": 1, "t": "identify", "d": {"type": "website", "key": key("website")}})
            for packet in ['{"op":', '{"op":77}', '{"op":1,"t":"reply","r":"x","d":{}}']:
                await web_socket.send_str(packet)
            await asyncio.sleep(1)

    async def discord_bot(self) -> None:
        """A bot of Discord's protocol, which loses its connection from time to time and resumes."""
        session, sequence = None, None
        for life_s in (25, 25, 40):
            url = f"http://127.0.0.1:{self.clients}/?v=10&encoding=json"
            async with self.http.ws_connect(url) as web_socket:
                hello = (await web_socket.receive_json())["d"]
                if session:
                    await web_socket.send_json(
                        {"op": 6, "d": {"token": key("bot"), "session_id": session, "seq": sequence}}
                    )
                else:
                    identify = {"token": key("bot"), "intents": 513, "properties": {"browser": "pictures"}}
                    await web_socket.send_json({"op": 2, "d": identify})
                until = time.monotonic() + life_s
                beat = time.monotonic() + random.uniform(1, hello["heartbeat_interval"] / 1000)
                while time.monotonic() < until:
                    if time.monotonic() > beat:
                        await web_socket.send_json({"op": 1, "d": sequence})
                        beat += hello["heartbeat_interval"] / 1000
                    try:
                        payload = await web_socket.receive_json(timeout=1)
                    except asyncio.TimeoutError:
                        continue
                    sequence = payload["s"] or sequence
                    if payload["t"] == "READY":
                        session = payload["d"]["session_id"]
                    elif payload["op"] == 9:
                        return
                # Without a close frame, so that the session can be resumed.
                web_socket._response.connection.transport.abort()

    # ---- once, when main.py says ----

    async def slow_readers(self) -> None:
        """Sessions that read nothing after their identify, until the node ends them."""
        await asyncio.gather(*(self.slow_reader() for _ in range(SLOW_READERS)), return_exceptions=True)

    async def slow_reader(self) -> None:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.direct))
        reader, writer = await asyncio.open_connection(sock=raw, limit=4096)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        identify = {"op": 1, "t": "identify", "d": {"type": "service", "key": key("backend")}}
        payload = json.dumps(identify).encode()
        # A short text frame with a mask of zeros.
        writer.write(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        await asyncio.sleep(60)
        writer.close()

    async def crowd(self, count: int, seconds: float) -> None:
        """Opens more connections than the node at `direct` takes."""

        async def one() -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.direct)
                    writer.write(HANDSHAKE)
                    await asyncio.wait_for(reader.read(), until - time.monotonic())
                    writer.close()
                except TROUBLE:
                    pass
                await asyncio.sleep(0.5)

        await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)


class Client:
    """One connection of version 1."""

    def __init__(
        self,
        load: Load,
        kind: str,
        *,
        credential: str = "",
        compressed: bool = False,
        jobs: int = 0,
        life_s: float = 600,
        away_s: float = 0,
    ) -> None:
        self.load = load
        self.kind = kind
        self.compressed = compressed
        self.life_s = random.uniform(0.5, 1.5) * life_s
        self.away_s = away_s or random.choice([0.2, 1, 5])
        self.identify: dict = {"type": kind, "key": credential or key(kind), "positions": True}
        guilds = random.sample(GUILDS, 6) if not credential else []
        if kind == "bot":
            members = random.randrange(100, 2000)
            self.identify |= {"guilds": guilds, "guildMembers": members, "cachedGuildMembers": members // 2}
            if jobs:
                self.identify["jobs"] = jobs
        elif guilds:
            self.identify["guilds"] = guilds

    async def run(self) -> None:
        """Stays connected for a part of its life, goes away, and comes back to catch up."""
        await self.connection(self.life_s / 2)
        await asyncio.sleep(self.away_s)
        await self.connection(self.life_s / 2)

    async def connection(self, seconds: float) -> None:
        query = "v=1&compression=zlib" if self.compressed else "v=1"
        async with self.load.http.ws_connect(f"http://127.0.0.1:{self.load.clients}/?{query}") as self.web_socket:
            await self.send({"op": 1, "t": "identify", "d": self.identify})
            talking = asyncio.create_task(self.talk())
            try:
                async with asyncio.timeout(seconds):
                    async for message in self.web_socket:
                        data = zlib.decompress(message.data) if self.compressed else message.data
                        await self.take(json.loads(data))
            except asyncio.TimeoutError:
                pass
            finally:
                talking.cancel()

    async def send(self, packet: dict) -> None:
        text = json.dumps(packet)
        if self.compressed:
            await self.web_socket.send_bytes(zlib.compress(text.encode()))
        else:
            await self.web_socket.send_str(text)

    async def talk(self) -> None:
        """Sends heartbeats, and events and requests if it is a website."""
        for number in range(10_000):
            await asyncio.sleep(random.uniform(1, 3))
            if number % 8 == 0:
                await self.send({"op": 10})
            if self.kind == "website":
                guild = random.choice(GUILDS)
                await self.send({"op": 1, "t": "announce", "d": {"n": number}})
                await self.send({"op": 1, "t": "get_settings", "n": number, "d": {"guildId": guild}})

    async def take(self, packet: dict) -> None:
        if packet.get("p"):
            self.identify["after"] = packet["p"]
        receipt = packet.get("r")
        chance = random.random()
        if packet.get("t") == "get_settings" and receipt:
            if chance < 0.9:
                await self.send({"op": 1, "t": "reply", "r": receipt, "d": {"prefix": "!"}})
            elif chance < 0.96:
                await self.send({"op": 1, "t": "reply_error", "r": receipt, "d": {"code": "unknown_guild"}})
        elif packet.get("t") == "render" and receipt:
            verdict = "ack" if chance < 0.9 else "nack"
            await self.send({"op": 1, "t": verdict, "r": receipt, "d": {"delay_ms": 500}})
