"""Waiting for the first of several things."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def first_of(*awaited: Awaitable[object]) -> None:
    """Return when one of them is done. Futures of others are left alone, what was made for this call is cancelled."""
    own = {asyncio.ensure_future(it): not isinstance(it, asyncio.Future) for it in awaited}
    await asyncio.wait(own, return_when=asyncio.FIRST_COMPLETED)
    for task, made_here in own.items():
        if made_here:
            task.cancel()
