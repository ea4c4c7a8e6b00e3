"""Admission: so many at once, so many waiting, and an honest refusal for the rest.

Of those that wait the highest priority goes first, and within it the nearest deadline. A full queue makes room for a
newcomer of higher priority by refusing the last in line.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.contracts.errors import ComponentTimeout, Leaving, Overloaded
from services.contracts.messages import PRIORITIES, Priority

_SMOOTHING = 0.2
_LEAST_RETRY_S = 0.1


class Slots:
    """Counts who works and who waits. Single-threaded: used from one event loop.

    Attributes:
        in_use: slots taken; queued: requests waiting; service_s and waited_s: recent mean times in a slot and in the
            queue before it, seconds.
    """

    def __init__(self, slots: int, queue_max: int, clock_s: Callable[[], float] = time.time) -> None:
        self.slots = slots
        self.queue_max = queue_max
        self.in_use = 0
        self.service_s = 0.0
        self.waited_s = 0.0
        self._clock_s = clock_s
        self._waiting: list[tuple[int, float, int, asyncio.Future[None]]] = []  # highest priority is lowest number
        self._order = itertools.count()

    @property
    def queued(self) -> int:
        """Requests waiting now."""
        return sum(1 for *_, future in self._waiting if not future.done())

    def wait_s(self, priority: Priority = "low") -> float:
        """How long a newcomer would wait for a slot, from recent service times."""
        if self.in_use < self.slots:
            return 0.0
        rank = _rank(priority)
        ahead = sum(1 for other, _, _, turn in self._waiting if other <= rank and not turn.done())
        return self.service_s * (ahead + 1) / self.slots

    @asynccontextmanager
    async def slot(self, deadline_s: float, priority: Priority = "normal") -> AsyncIterator[None]:
        """Hold a slot while the block runs, after waiting for one if need be.

        Raises:
            Overloaded: the queue is full, the wait would outlast the deadline, or one of higher priority took the
                place in a full queue. Says when to retry.
            ComponentTimeout: the deadline passed in the queue.
            Leaving: it was handed back.
        """
        arrived_s = self._clock_s()
        await self._acquire(deadline_s, priority)
        started_s = self._clock_s()
        self.waited_s = _smooth(self.waited_s, started_s - arrived_s)
        try:
            yield
        finally:
            took_s = self._clock_s() - started_s
            self.service_s = took_s if self.service_s == 0 else _smooth(self.service_s, took_s)
            self._release()

    async def _acquire(self, deadline_s: float, priority: Priority) -> None:
        now_s = self._clock_s()
        if now_s >= deadline_s:
            raise ComponentTimeout("the deadline had passed before work began")
        if self.in_use < self.slots:
            self.in_use += 1
            return
        rank = _rank(priority)
        if now_s + self.wait_s(priority) > deadline_s or (self.queued >= self.queue_max and not self._displace(rank)):
            raise self._overloaded()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, deadline_s, next(self._order), turn))
        try:
            async with asyncio.timeout(deadline_s - now_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release()  # the slot was handed over in the very moment of leaving
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise ComponentTimeout("the deadline passed while waiting for a slot") from error
            raise

    def hand_back(self, why: str) -> None:
        """Refuse all that wait, with a reason that makes their routers choose again."""
        for *_, turn in self._waiting:
            if not turn.done():
                turn.set_exception(Leaving(why))

    def _displace(self, rank: int) -> bool:
        """Refuse the last in line if it ranks below the newcomer."""
        last = max((entry for entry in self._waiting if not entry[-1].done()), default=None)
        if last is None or last[0] <= rank:
            return False
        last[-1].set_exception(self._overloaded())
        return True

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"all {self.slots} slots are busy and {self.queued} requests wait",
            retry_after_s=max(_LEAST_RETRY_S, self.wait_s()),
        )

    def _release(self) -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)  # the slot passes on; in_use stays
                return
        self.in_use -= 1


def _smooth(before: float, now: float) -> float:
    return before + _SMOOTHING * (now - before)


def _rank(priority: Priority) -> int:
    return -PRIORITIES.index(priority)
