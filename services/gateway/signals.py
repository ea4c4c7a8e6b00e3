"""Verdicts on answers, recorded on the bus: every router hears them at once, and reads them again after a restart."""

from __future__ import annotations

import asyncio
import time

import structlog

from services.bus.port import Bus
from services.contracts import subjects
from services.contracts.decision import Decision
from services.contracts.errors import TurnoutError
from services.contracts.feedback import Feedback, Source
from services.contracts.messages import encode

log = structlog.get_logger()

_MAX_SENDING = 256


def verdict_on(decision: Decision, quality: float, source: Source) -> Feedback:
    """A verdict on the answer of a decision."""
    steps = next((c.steps for c in decision.candidates if c.rejected is None), ())
    if not steps or steps[-1] != decision.component:  # another had to take over
        steps = next((c.steps for c in decision.candidates if c.steps and c.steps[-1] == decision.component), ())
    return Feedback(
        decision.id,
        quality,
        steps or (decision.component,),
        decision.model,
        time.time(),
        prior=decision.prior_quality,
        source=source,
    )


class Signals:
    """Records verdicts that nobody waits for. One that the bus does not take is lost, and logged."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._sending: set[asyncio.Task[None]] = set()

    def send(self, verdict: Feedback) -> None:
        """Record it in the background. Never blocks."""
        if len(self._sending) >= _MAX_SENDING:
            log.warning("signal_dropped", id=verdict.decision_id)
            return
        sending = asyncio.create_task(self._record(verdict))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def finish(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _record(self, verdict: Feedback) -> None:
        try:
            await self._bus.record(subjects.feedback(verdict.decision_id, verdict.source), encode(verdict))
        except TurnoutError as error:
            log.warning("signal_not_recorded", id=verdict.decision_id, reason=error.message)
