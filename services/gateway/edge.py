"""The long-lived parts that handlers work with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from services.bus.port import Bus
from services.bus.roster import Roster
from services.gateway.decisions import Decisions
from services.gateway.fetch import Fetcher
from services.gateway.forms import Forms
from services.gateway.images import Images
from services.gateway.metrics import Metrics
from services.gateway.retries import Retries
from services.gateway.shadows import Shadows
from services.gateway.signals import Signals
from services.gateway.state import Live, State

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Edge:
    """Everything a handler may use of the world."""

    bus: Bus
    roster: Roster
    live: Live
    metrics: Metrics
    decisions: Decisions
    images: Images
    signals: Signals
    retries: Retries
    forms: Forms
    shadows: Shadows
    started_s: float


@asynccontextmanager
async def edge(bus: Bus, roster: Roster, state: State) -> AsyncIterator[Edge]:
    """An edge with its background tasks running; at the end, what is still to be recorded is."""
    live = Live(bus, state)
    metrics = Metrics(roster.all)
    decisions = Decisions(bus, metrics)
    fetcher, signals, shadows = Fetcher(), Signals(bus), Shadows(bus, roster, metrics)
    tasks = [asyncio.create_task(_loudly(live.follow())), asyncio.create_task(_loudly(decisions.write()))]
    images, retries = Images(bus, fetcher), Retries(time.monotonic)
    try:
        yield Edge(bus, roster, live, metrics, decisions, images, signals, retries, Forms(), shadows, time.time())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await shadows.finish()
        await decisions.finish()
        await signals.finish()
        await fetcher.close()


async def _loudly(work: Coroutine[object, object, None]) -> None:
    """Background work must not die in silence."""
    try:
        await work
    except Exception:
        log.exception("background_task_died")
        raise
