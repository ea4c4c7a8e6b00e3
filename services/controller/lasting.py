"""Writes that outlast a bus which is away for a moment: what the controller has decided must not be lost by that."""

from __future__ import annotations

import stamina

from services.bus.port import Bus
from services.contracts.errors import ComponentTimeout, ComponentUnavailable

TRIES = 60
AGAIN_S = 0.5


async def store(bus: Bus, bucket: str, key: str, value: bytes, *, after: int | None = None) -> int:
    """`Bus.kv_put`, with half a minute for a bus that is away to come back.

    Raises:
        TurnoutError: it has not; or, as `ConfigError`, someone else was faster.
    """
    async for attempt in stamina.retry_context(
        on=(ComponentUnavailable, ComponentTimeout),
        attempts=TRIES,
        wait_initial=AGAIN_S,
        wait_max=AGAIN_S,
        timeout=None,
    ):
        with attempt:
            revision = await bus.kv_put(bucket, key, value, after=after)
    return revision
