"""The container engine: `docker` and `docker-compose`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path

from failure import Failed, check

ROOT = Path(__file__).resolve().parents[2]


class Engine:
    """Runs their commands in the repository. A failed command raises `Failed` with the last lines of its output."""

    def __init__(self, compose: str) -> None:
        self.tool = compose.split()

    async def run(self, *command: str, seconds: float = 300) -> str:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        what = " ".join(command)
        try:
            out, problem = await asyncio.wait_for(process.communicate(), seconds)
        except asyncio.TimeoutError:
            process.kill()
            raise Failed(f"{what}: not done within {seconds} s") from None
        last = "\n".join((out + problem).decode(errors="replace").splitlines()[-20:])
        check(process.returncode == 0, f"{what}: exit {process.returncode}\n{last}")
        return out.decode(errors="replace")

    async def compose(self, *arguments: str, seconds: float = 300) -> str:
        return await self.run(*self.tool, *arguments, seconds=seconds)

    async def docker(self, *arguments: str) -> str:
        return await self.run("docker", *arguments)

    async def container(self, service: str) -> str:
        return (await self.compose("ps", "--quiet", "--all", service)).strip()

    async def inspect(self, service: str) -> dict:
        return json.loads(await self.docker("inspect", await self.container(service)))[0]

    async def healthy(self, *services: str, seconds: float = 60) -> None:
        """Waits until all of these services are healthy."""
        deadline = time.monotonic() + seconds
        for service in services:
            while (state := (await self.inspect(service))["State"])["Health"]["Status"] != "healthy":
                check(time.monotonic() < deadline, f"{service} is not healthy within {seconds} s: {state}")
                await asyncio.sleep(0.5)
