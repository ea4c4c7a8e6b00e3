"""Keeps the record of each request: completed here, written to the bus by one task, readable at once.

Answers never wait for the record, and records leave together: a write of their own for each would take processor time
from the answers. When the bus is slower than the traffic the queue fills, and what does not fit is
counted and logged.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import OrderedDict, deque

import msgspec
import structlog

from services.bus.port import Bus
from services.contracts import subjects
from services.contracts.decision import DECISION_DECODER, Decision
from services.contracts.errors import NotFound, TurnoutError
from services.contracts.messages import encode
from services.gateway.metrics import Metrics

log = structlog.get_logger()

_QUEUE_MAX = 4096
_REMEMBERED = 1024
_PENDING_S = 2.0
_GATHER_S = 0.02
_TOGETHER = 64
_ID = re.compile(r"[0-9a-f]{32}")


class Decisions:
    """The records of this gateway's requests."""

    def __init__(self, bus: Bus, metrics: Metrics, queue_max: int = _QUEUE_MAX) -> None:
        self._bus = bus
        self._metrics = metrics
        self._queue_max = queue_max
        self._queue: deque[Decision] = deque()
        self._arrived = asyncio.Event()
        self._recent: OrderedDict[str, Decision] = OrderedDict()
        self._pending: dict[str, asyncio.Task[Decision]] = {}
        self._recording = asyncio.Lock()

    def keep(self, decision: Decision) -> None:
        """Take a completed record. Never blocks."""
        self._recent[decision.id] = decision
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        if len(self._queue) >= self._queue_max:
            self._metrics.drop_decision()
            log.warning("decision_dropped", id=decision.id)
            return
        self._queue.append(decision)
        self._arrived.set()

    def keep_later(self, id_: str, completing: asyncio.Task[Decision]) -> None:
        """Take a record that is still being completed."""
        self._pending[id_] = completing

        def done(task: asyncio.Task[Decision]) -> None:
            self._pending.pop(id_, None)
            if not task.cancelled() and task.exception() is None:
                self.keep(task.result())

        completing.add_done_callback(done)

    async def read(self, id_: str, tenant: str) -> Decision:
        """The record of one request.

        Raises:
            NotFound: there is none, or another tenant's.
        """
        decision = await self._find(id_) if _ID.fullmatch(id_) else None
        if decision is None or decision.tenant != tenant:
            raise NotFound("no decision of that id", param="id")
        return decision

    async def write(self) -> None:
        """Record what is kept, for ever: what comes within `_GATHER_S` of the first leaves with it."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await asyncio.sleep(_GATHER_S)
            await self._record_all()

    async def finish(self) -> None:
        """Record what is still queued; for the end of the process."""
        if self._pending:
            await asyncio.wait(self._pending.values(), timeout=_PENDING_S)
        await self._record_all()

    async def _record_all(self) -> None:
        # They leave the queue when they are recorded: where this is cancelled, `finish` takes them again.
        async with self._recording:
            while together := tuple(itertools.islice(self._queue, _TOGETHER)):
                await asyncio.gather(*map(self._record, together))
                for _ in together:
                    self._queue.popleft()

    async def _record(self, decision: Decision) -> None:
        try:
            await self._bus.record(subjects.decision(decision.id), encode(decision))
        except TurnoutError as error:
            self._metrics.drop_decision()
            log.warning("decision_not_recorded", id=decision.id, reason=error.message)

    async def _find(self, id_: str) -> Decision | None:
        if (task := self._pending.get(id_)) is not None:
            await asyncio.wait([task], timeout=_PENDING_S)
            if task.done() and not task.cancelled() and task.exception() is None:
                return task.result()
        if (recent := self._recent.get(id_)) is not None:
            return recent
        data = await self._bus.recall(subjects.decision(id_))
        if data is None:
            return None
        try:
            return DECISION_DECODER.decode(data)
        except msgspec.DecodeError as error:
            log.warning("decision_unreadable", id=id_, error=str(error))
            return None
