"""Components that serve nobody now but soon will: asleep until somebody asks, or being exchanged.

A request that needs one waits for it within its deadline, in place of being refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

import msgspec
import structlog

from services.bus.port import Bus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.control import Wake
from services.contracts.errors import TurnoutError
from services.contracts.messages import encode

log = structlog.get_logger()

_ON_THE_WAY = frozenset({"starting", "standby", "draining"})
_GAP_S = 5.0
"""Between the end of an instance and the first beat of the one that follows it."""
_LOOK_AGAIN_S = 1.0


class Coming:
    """What is remembered of components that do not serve at the moment."""

    def __init__(self, bus: Bus, roster: Roster) -> None:
        self._bus = bus
        self._roster = roster
        self._last: dict[str, tuple[Beat, float]] = {}

    def asleep(self, serving: Iterable[Beat], sleepers: Iterable[str]) -> list[Beat]:
        """The last beats of components that may sleep and do, marked so. Remembers those that serve."""
        now_s = time.monotonic()
        present: set[str] = set()
        for beat in serving:
            present.add(beat.component)
            self._last[beat.component] = (beat, now_s)
        return [
            msgspec.structs.replace(self._last[name][0], state="asleep", in_use=0, queued=0)
            for name in sleepers
            if name not in present and name in self._last
        ]

    def expected(self, component: str, sleepers: frozenset[str]) -> bool:
        """Whether a component that does not serve will: it may sleep, is on its way, or has left a moment ago."""
        if component in sleepers or any(
            b.component == component and b.state in _ON_THE_WAY for b in self._roster.all()
        ):
            return True
        last = self._last.get(component)
        return last is not None and time.monotonic() - last[1] < _GAP_S

    async def arrive(self, component: str, deadline_s: float, *, may_sleep: bool) -> None:
        """Return when the component serves, or when there is nothing more to wait for.

        One that may sleep is woken, and waited for until the deadline (seconds since the epoch). Another is waited
        for as long as it is on its way, and over the gap between two of its instances.
        """
        seen_s = time.monotonic()
        while not self._roster.ready(component) and (left_s := deadline_s - time.time()) > 0:
            if may_sleep:
                await self._wake(component)
            elif any(b.component == component and b.state in _ON_THE_WAY for b in self._roster.all()):
                seen_s = time.monotonic()
            elif time.monotonic() - seen_s > _GAP_S:
                return
            try:
                async with asyncio.timeout(min(left_s, _LOOK_AGAIN_S)):
                    await self._roster.changed()
            except TimeoutError:
                continue

    async def speaks(self, silent: Iterable[Beat], deadline_s: float) -> None:
        """Return when one of these instances has beaten again, or is gone, or none has within the gap.

        Who could not be reached though it lives is between two connections to the bus.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(deadline_s - time.time(), _GAP_S)):
                while all(self._roster.get(beat.instance) is beat for beat in silent):
                    await self._roster.heard()

    async def _wake(self, component: str) -> None:
        """Tell the controller that somebody waits."""
        try:
            await self._bus.publish(subjects.CONTROLLER, encode(Wake(component)))
        except TurnoutError as error:
            log.warning("nobody_woken", component=component, reason=error.message)
