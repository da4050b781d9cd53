"""The exception for failed checks, and waiting for conditions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# Twice the lease, which a dead node may still hold, and some time for a slow machine.
WAIT_S = 30


class Failed(Exception):
    """A check that failed."""


def check(condition: object, message: str) -> None:
    if not condition:
        raise Failed(message)


async def until(condition: Callable[[], object], what: str, seconds: float = WAIT_S) -> None:
    """Waits until `condition` is true, or fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"{what}: not within {seconds} s")
        await asyncio.sleep(0.05)
