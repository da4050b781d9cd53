#!/usr/bin/env python3
"""A bot on an unmodified discord.py. It takes commands on standard input and prints events for a test to check.

    discord_bot.py --api http://127.0.0.1:8080/api --intents 513 [--shards 2|auto]
        [--compression zstd-stream|zlib-stream]

The token is in DISCORD_TOKEN. Commands and events are those of `discordjs/bot.mjs`, with the differences of the
library: without --shards, `shard` is null; it always requests a transport compression; and `latency_ms` is not known
when a heartbeat is acknowledged.

Received payloads and the reasons of closes are taken from the library's log, the only public place that names the
shard.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

STATUSES = ("online", "idle", "dnd", "invisible")


def say(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--api", required=True, help="base URL of the HTTP API, without a version")
    parser.add_argument("--intents", required=True, type=int, help="the intents as a number")
    parser.add_argument("--shards", help="number of shards, or auto for the number that the gateway recommends")
    parser.add_argument("--compression", choices=("zstd-stream", "zlib-stream"), default="zstd-stream")
    return parser.parse_args()


options = parse_arguments()
if options.compression == "zlib-stream":
    # The library uses zstd if it can import it, so the import has to fail.
    sys.modules["zstandard"] = None  # type: ignore[assignment]
    sys.modules["compression.zstd"] = None  # type: ignore[assignment]

import discord  # noqa: E402
import yarl  # noqa: E402
from discord import gateway as discord_gateway  # noqa: E402
from discord import http as discord_http  # noqa: E402


class GatewayLog(logging.Handler):
    """Turns what the library logs about its connections into events."""

    def emit(self, record: logging.LogRecord) -> None:
        handle = LOGGED.get(str(record.msg))
        if handle is not None:
            handle(*record.args)  # type: ignore[misc]
        elif record.levelno >= logging.ERROR:
            say("error", message=record.getMessage() + (f": {record.exc_info[1]!r}" if record.exc_info else ""))


def report_payload(shard: int | None, payload: dict[str, Any]) -> None:
    op, data = payload["op"], payload["d"]
    if op == 10:
        say("hello", shard=shard, heartbeat_interval=data["heartbeat_interval"])
    elif op == 11:
        say("heartbeat_ack", shard=shard)
    elif op != 0:
        say("op", shard=shard, op=op, d=data)
    else:
        report_dispatch(shard, payload)


def report_dispatch(shard: int | None, payload: dict[str, Any]) -> None:
    name, data = payload["t"], payload["d"]
    if name == "READY":
        say(
            "ready",
            shard=shard,
            session=data["session_id"],
            user=data["user"]["id"],
            application=data["application"]["id"],
            guilds=[guild["id"] for guild in data["guilds"]],
            resume_url=data["resume_gateway_url"],
        )
    elif name == "RESUMED":
        say("resumed", shard=shard)
    say("dispatch", shard=shard, t=name, s=payload["s"], d=data)


def report_close(code: int | None) -> None:
    say("close", code=code)


LOGGED = {
    "For Shard ID %s: WebSocket Event: %s": report_payload,
    "Shard ID %s has sent the IDENTIFY payload.": lambda shard: say("identify", shard=shard),
    "Shard ID %s has sent the RESUME payload.": lambda shard: say("resume", shard=shard),
    "Websocket closed with %s, attempting a reconnect.": report_close,
    "Websocket closed with %s, cannot reconnect.": report_close,
}


class Bot(discord.AutoShardedClient if options.shards else discord.Client):  # type: ignore[misc]
    async def on_ready(self) -> None:
        guilds = [
            {
                "id": str(guild.id),
                "name": guild.name,
                "available": not guild.unavailable,
                "shard": guild.shard_id,
                "member_count": guild.member_count,
                "channels": len(guild.channels),
            }
            for guild in self.guilds
        ]
        say("client_ready", user=str(self.user), guilds=guilds)

    async def on_message(self, message: discord.Message) -> None:
        say(
            "message",
            id=str(message.id),
            guild=str(message.guild.id) if message.guild else None,
            channel=str(message.channel.id),
            content=message.content,
            author=message.author.name,
        )

    async def on_presence_update(self, _: discord.Member, member: discord.Member) -> None:
        say("presence", guild=str(member.guild.id), user=str(member.id), status=str(member.status))

    async def on_voice_state_update(
        self, member: discord.Member, _: discord.VoiceState, state: discord.VoiceState
    ) -> None:
        channel = str(state.channel.id) if state.channel else None
        say("voice", guild=str(member.guild.id), user=str(member.id), channel=channel)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        say("error", message=f"{event_method}: {sys.exc_info()[1]!r}")

    async def execute(self, command: str, *arguments: str) -> None:
        await getattr(self, f"do_{command}")(*arguments)

    async def do_drop(self, shard: str | None = None) -> None:
        # Both directions of the socket end without a Close frame.
        gateway = self._get_websocket(shard_id=int(shard or 0))
        gateway.socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def do_presence(self, status: str) -> None:
        if status not in STATUSES:
            raise ValueError(f"not one of {STATUSES}")
        await self.change_presence(status=discord.Status(status), activity=discord.Game("with the tests"))

    async def do_voice(self, guild_id: str, channel_id: str | None = None) -> None:
        guild = self.get_guild(int(guild_id))
        if guild is None:
            raise ValueError("no such guild")
        channel = discord.Object(int(channel_id)) if channel_id else None
        await guild.change_voice_state(channel=channel, self_mute=True)

    async def do_members(self, guild_id: str) -> None:
        guild = self.get_guild(int(guild_id))
        if guild is None:
            raise ValueError("no such guild")
        members = await asyncio.wait_for(guild.chunk(cache=False), 15)
        names = sorted(member.name for member in members or [])
        say("members", guild=guild_id, count=len(names), names=names)

    async def do_quit(self) -> None:
        await self.close()


async def read_commands(bot: Bot) -> None:
    """Executes commands line by line. At the end of input the test has ended, so the bot closes."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().strip():
        try:
            await bot.execute(*line.split(" "))
        except Exception as problem:
            say("error", message=f"{line}: {problem!r}")
    await bot.close()


async def run() -> None:
    shards = {} if options.shards in (None, "auto") else {"shard_count": int(options.shards)}
    intents = discord.Intents.none()
    intents.value = options.intents
    bot = Bot(intents=intents, **shards)
    commands = asyncio.create_task(read_commands(bot))
    try:
        await bot.start(os.environ["DISCORD_TOKEN"])
    except discord.LoginFailure as problem:
        say("login_failed", code="LoginFailure", message=str(problem))
    except (discord.DiscordException, OSError) as problem:
        say("login_failed", code=type(problem).__name__, message=str(problem))
    finally:
        # Close first: cancelling the command task while it awaits `close` would cancel the close.
        await bot.close()
        commands.cancel()


def main() -> None:
    handler = GatewayLog()
    for name in ("discord.gateway", "discord.shard", "discord.client"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
    address = urlsplit(options.api)
    discord_http.Route.BASE = f"{options.api}/v{discord_http.INTERNAL_API_VERSION}"
    discord_gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(f"ws://{address.netloc}/")
    asyncio.run(run())


if __name__ == "__main__":
    main()
