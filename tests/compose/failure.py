"""What went wrong, and waiting for it not to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# The lease that a node may hold after its death, twice, and some time for a slow machine.
WAIT_S = 30


class Failed(Exception):
    """Something was not as it should be."""


def check(condition: object, message: str) -> None:
    if not condition:
        raise Failed(message)


async def until(condition: Callable[[], object], what: str, seconds: float = WAIT_S) -> None:
    """Waits for a condition of what clients have seen."""
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"{what}: not within {seconds} s")
        await asyncio.sleep(0.05)
