"""Puts load on one component of a running system: one request at a time, so many at once, or as chance has it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from evals.simulate.queue import Floats
from services.contracts.errors import ConfigError, TurnoutError
from services.controller.client import Client, as_object, checked, error_message

_LOOK_S = 1.0  # each look takes time from the gateway
_TIMEOUT_S = 600.0
_REFUSED = frozenset((httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE))
_LENGTHS = (4, 40, 12, 24, 8, 48, 16, 32)  # tokens; so that service times differ, as they do
_ASKED = (
    "Write a short story about {}.",
    "What is {} good for?",
    "Name three things that go with {}.",
    "Explain {} to a child.",
    "Give one fact about {}.",
)
_THINGS = ("trains", "salt", "a lighthouse", "winter", "paper", "bridges", "bread", "clocks", "rivers", "maps", "glass")


@dataclass(frozen=True)
class Place:
    """How much a component can take: its living instances, and each one's slots and places in its queue."""

    replicas: int
    slots: int
    queue: int


@dataclass
class Measured:
    """What came of a load. Times in seconds; NaN for a request that was refused."""

    latency_s: Floats
    failed: list[str] = field(default_factory=list)
    in_use: float = 0.0


@dataclass(frozen=True)
class Asked:
    """What came of one request. `latency_s` is NaN where there is no answer, and `error` says why."""

    latency_s: float
    id: str
    error: str | None = None
    refused: bool = False


class Probe:
    """One component, asked by name."""

    def __init__(self, http: httpx.AsyncClient, component: str) -> None:
        self._http = http
        self._component = component
        self._numbers = itertools.count()

    async def place(self) -> Place:
        """What there is of it.

        Raises:
            ConfigError: there is nothing, or its instances are not alike.
        """
        ready = await self._ready()
        found = {(beat["slots"], beat["queue_max"]) for beat in ready}
        if len(found) != 1:
            raise ConfigError(f"{self._component}: no instance is ready, or they have different slots")
        slots, queue = found.pop()
        return Place(len(ready), slots, queue)

    async def alone(self, calls: int) -> tuple[Floats, Floats]:
        """One request at a time: how long each took, and how much of it with the component.

        Raises:
            TurnoutError: one got no answer.
        """
        took: list[tuple[float, float]] = []
        for number in range(calls):
            asked = await self._ask(number)
            if asked.error is not None:
                raise TurnoutError(f"{self._component}: {asked.error}")
            decision = as_object(checked(await self._http.get(f"/v1/decisions/{asked.id}")))
            if not decision.get("attempts"):
                raise TurnoutError(f"{self._component}: the record of {asked.id} names no attempt")
            last = decision["attempts"][-1]  # of a plain answer it ends with the answer
            took.append((asked.latency_s, min(last["ended_s"] - last["started_s"], asked.latency_s)))
        whole, inside = np.array(took).T
        return whole, inside

    async def closed(self, at_once: int, calls: int) -> Floats:
        """So many requests at a time: how long each of `calls` took.

        They begin when all places are filled, and others go on until the last of them is answered: with fewer at once
        they would be quicker.

        Raises:
            TurnoutError: one got no answer.
        """
        turns = itertools.count(-at_once)
        took: list[float] = []

        async def ask_on() -> None:
            while len(took) < calls:
                number = next(turns)
                asked = await self._ask(number)
                if asked.error is not None:
                    raise TurnoutError(f"{self._component}: {asked.error}")
                if 0 <= number < calls:
                    took.append(asked.latency_s)

        await asyncio.gather(*(ask_on() for _ in range(at_once)))
        return np.array(took)

    async def open(self, arrivals: Floats) -> Measured:
        """Requests that arrive at these times, whatever has become of those before."""
        began_s = time.perf_counter()
        used: list[float] = []
        async with self._watching(used):

            async def arrive(number: int, at_s: float) -> Asked:
                await asyncio.sleep(max(0.0, began_s + at_s - time.perf_counter()))
                return await self._ask(number)

            asking = [asyncio.create_task(arrive(n, at_s)) for n, at_s in enumerate(arrivals.tolist())]
            await asyncio.sleep(max(0.0, began_s + float(arrivals[-1]) - time.perf_counter()))
            seen = list(used)  # while the load lasted
            found = await asyncio.gather(*asking)
        return Measured(
            np.array([asked.latency_s for asked in found]),
            [asked.error for asked in found if asked.error and not asked.refused],
            float(np.mean(seen)) if seen else math.nan,
        )

    @asynccontextmanager
    async def _watching(self, used: list[float]) -> AsyncIterator[None]:
        """Note now and then which part of the slots is in use."""

        async def watch() -> None:
            while True:
                await asyncio.sleep(_LOOK_S)
                ready = await self._ready()
                slots = sum(beat["slots"] for beat in ready)
                used.append(sum(beat["in_use"] for beat in ready) / slots if slots else 0.0)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _ready(self) -> list[dict[str, Any]]:
        found = as_object(checked(await self._http.get("/v1/status")))
        every = [beat for one in found["components"] if one["name"] == self._component for beat in one["instances"]]
        return [beat for beat in every if beat["state"] == "ready"]

    async def _ask(self, number: int) -> Asked:
        unique = next(self._numbers)  # at its beginning, so that nobody has read the prompt before
        asked = _ASKED[number % len(_ASKED)].format(_THINGS[number % len(_THINGS)])
        body = {
            "model": self._component,
            "messages": [{"role": "user", "content": f"Note {unique}. {asked}"}],
            "max_tokens": _LENGTHS[number % len(_LENGTHS)],
        }
        began_s = time.perf_counter()
        response = await self._http.post("/v1/chat/completions", json=body)
        if response.is_success:
            return Asked(time.perf_counter() - began_s, response.headers.get("x-turnout-decision-id", ""))
        return Asked(math.nan, "", error_message(response), refused=response.status_code in _REFUSED)


def probing(client: Client, component: str, work: Callable[[Probe], Awaitable[None]]) -> None:
    """Run `work` with a probe.

    Raises:
        TurnoutError: nothing answers there, or it stops answering.
    """

    async def run() -> None:
        headers = {"authorization": f"Bearer {client.key}"} if client.key else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(
            base_url=client.url, headers=headers, timeout=_TIMEOUT_S, limits=limits, trust_env=False
        ) as http:
            await work(Probe(http, component))

    try:
        asyncio.run(run())
    except httpx.ConnectError as error:
        raise TurnoutError(f"no Turnout at {client.url}: start it with `turnout up`") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise TurnoutError(f"{client.url}: {type(error).__name__}") from error
