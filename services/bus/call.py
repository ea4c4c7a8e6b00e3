"""One routed request, from the asker's side: ask the router, then read the answer's events in order.

The gateway and the agents both ask this way. Whatever can end an answer (its last event, a refusal by the router, the
death of the worker or of the router, the deadline) arrives in one inbox, so a single loop waits for all of it.

A bus that was away may have swallowed a message either way. A worker says what it still works on when it is back; where
nobody does, or a part of the answer is missing, the task is sent again under another id, and what was written stays.

Whoever lost the bus alone is taken for dead, and another gets the task; what the first has made meanwhile arrives late.
An answer is written under one id, so what comes under another is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import msgspec
import structlog

from services.bus.port import Bus, Inbox
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.decision import ROUTED_DECODER, Routed
from services.contracts.errors import (
    ComponentTimeout,
    ComponentUnavailable,
    InternalError,
    TurnoutError,
    from_info,
)
from services.contracts.events import ALIVE, ENVELOPE_DECODER, Delta, Event, Failed, Finished, Started, Usage
from services.contracts.messages import ChatRequest, Task, encode

ROUTER = "router"
_ROUTED, _WORKER_GONE, _ROUTER_GONE, _DEADLINE = b"routed", b"worker gone", b"router gone", b"deadline"
_LOST = b"lost"
_MARKS = frozenset((_ROUTED, _WORKER_GONE, _ROUTER_GONE, _DEADLINE, _LOST))
_DIED = "the component that was answering has died"
_LOOK_AGAIN_S = 0.1
_MAX_LOOKS = 10
_SIGN_WITHIN_S = 2.5  # of the return of the bus; workers speak up sooner
_MAX_ASKS = 3
_MAX_RESUMED = 3

log = structlog.get_logger()


class Call:
    """A request on its way. Iterate `events()` once; `routed()` then tells how it was decided.

    Attributes:
        task: as sent, with the inbox of this call.
        started: who answers, from the first event on.
        spent: what a failed answer had taken all the same; an answer that finished says so itself.
        resumed: how often another instance has gone on with an answer whose writer had died.
    """

    def __init__(self, bus: Bus, roster: Roster, task: Task) -> None:
        self._bus = bus
        self._roster = roster
        self.task = task
        self.started: Started | None = None
        self.spent = Usage()
        self._inbox: Inbox | None = None
        self._route: asyncio.Task[Routed] | None = None
        self._watches: list[asyncio.Future[None]] = []
        self._asks = 0
        self._expected = 0
        self._writing = ""
        self._torn = ""
        self._ids = [task.id]
        self._ended = False
        self._written: list[str] = []
        self._model: str | None = None
        self._signs = 0
        self._looks = 0
        self._writer: Beat | None = None
        self._stopping: asyncio.Future[None] | None = None
        self.resumed = 0

    async def events(self) -> AsyncIterator[Event]:
        """The answer's events, `Started` first and `Finished` last.

        Closing the iterator early cancels the work wherever it is.

        Raises:
            TurnoutError: what ended the answer, from anywhere on its way.
        """
        inbox = self._ask()
        remaining_s = max(0.0, self.task.deadline_s - time.time())
        # A mark in the inbox and not asyncio.timeout: that would strike the consumer between two events.
        alarm = asyncio.get_running_loop().call_later(remaining_s, lambda: inbox.offer(_DEADLINE))
        try:
            while not self._ended:
                data = await inbox.next()
                if data in _MARKS:
                    if self._must_ask_again(data):
                        alarm.cancel()
                        inbox = self._ask()
                        remaining_s = max(0.0, self.task.deadline_s - time.time())
                        alarm = asyncio.get_running_loop().call_later(remaining_s, inbox.offer, _DEADLINE)
                    continue
                for event in self._take(data):
                    yield event
        finally:
            alarm.cancel()
            inbox.close()
            for watch in self._watches:
                watch.cancel()
            if not self._ended and self._route is not None:
                self._route.cancel()
            if not self._ended or self._scattered:
                await self._abandon()

    async def routed(self) -> Routed | None:
        """The router's reply; None if it never came. Ask after the events have ended."""
        if self._route is None:
            return None
        done, _ = await asyncio.wait([self._route], timeout=1.0)
        if not done or self._route.cancelled() or self._route.exception() is not None:
            return None
        return self._route.result()

    def _ask(self) -> Inbox:
        """Send the task to a router. Asked again, it gets a new inbox: two answers must not mix."""
        if self._inbox is not None:
            self._inbox.close()
        self._asks += 1
        inbox = self._inbox = self._bus.inbox()
        self.task = msgspec.structs.replace(self.task, inbox=inbox.subject)
        self._route = asyncio.create_task(self._await_router())
        self._route.add_done_callback(lambda route: _wake(route, inbox))
        for router in self._roster.ready(ROUTER):
            self._watch(router.instance, inbox, _ROUTER_GONE)
        self._watch_bus(inbox)
        return inbox

    def _watch_bus(self, inbox: Inbox) -> None:
        watch = self._bus.returned()
        watch.add_done_callback(lambda done: None if done.cancelled() else self._on_return(inbox))
        self._watches.append(watch)

    def _on_return(self, inbox: Inbox) -> None:
        """The bus was away: whoever works on the task speaks up soon, or nobody does."""
        heard = (self._expected, self._signs)

        def look() -> None:
            if not self._ended and inbox is self._inbox and heard == (self._expected, self._signs):
                inbox.offer(_LOST)

        self._watch_bus(inbox)  # it may go away again
        self._watches.append(_later(_SIGN_WITHIN_S, look))

    def _watch(self, instance: str, inbox: Inbox, mark: bytes) -> None:
        watch = self._roster.watch(instance)
        watch.add_done_callback(lambda done: None if done.cancelled() else inbox.offer(mark))
        self._watches.append(watch)

    async def _await_router(self) -> Routed:
        remaining_s = max(0.001, self.task.deadline_s - time.time())
        return ROUTED_DECODER.decode(await self._bus.ask(subjects.ROUTE, encode(self.task), remaining_s))

    def _take(self, data: bytes) -> tuple[Event, ...]:
        """The events of one envelope, checked for gaps."""
        envelope = ENVELOPE_DECODER.decode(data)
        if self._writing not in ("", envelope.task):
            return ()
        if envelope.seq == ALIVE:
            self._signs += 1
            return ()
        if envelope.seq != self._expected:
            if self._bus.unsettled and self._inbox is not None:
                self._inbox.offer(_LOST)
                return ()
            # The first may never come of one that was cut off: the router has given the task to another then.
            self._torn = envelope.task
            self._mind_the_gap()
            return ()
        self._writing = envelope.task
        self._expected += 1
        for event in envelope.events:
            self._note(event)
        return envelope.events

    def _mind_the_gap(self) -> None:
        """Of the one who is to answer every part must come.

        Raises:
            InternalError: one has not.
        """
        if self._torn and self._torn in (self._writing, self._handed):
            raise InternalError(f"a part of the answer was lost on the bus (part {self._expected})")

    @property
    def _handed(self) -> str:
        """The id under which the router has handed the task over; empty while it is not known."""
        route = self._route
        if route is None or not route.done() or route.cancelled() or route.exception() is not None:
            return ""
        return route.result().task or self.task.id

    @property
    def _scattered(self) -> bool:
        """Whether somebody who was taken for dead may still work on the task, under this id or an earlier one."""
        return len(self._ids) > 1 or self._handed not in ("", self.task.id)

    def _note(self, event: Event) -> None:
        """Keep what an event tells of the answer."""
        if isinstance(event, Started):
            if self._model not in (None, event.model):
                raise ComponentUnavailable(_DIED, retry_after_s=1.0)
            self.started = event
            self._writer = self._roster.get(event.instance) or self._writer
            if self._inbox is not None:
                self._watch(event.instance, self._inbox, _WORKER_GONE)
        elif isinstance(event, Failed):
            self._ended = True
            self.spent = event.usage
            raise from_info(event.error)
        elif isinstance(event, Finished):
            self._ended = True
        elif isinstance(event, Delta):
            self._written.append(event.text)

    def _must_ask_again(self, mark: bytes) -> bool:
        """What news from beside the stream means for it.

        Raises:
            TurnoutError: the answer cannot come any more.
        """
        if mark == _DEADLINE:
            raise ComponentTimeout("the deadline passed before the answer was complete")
        if mark == _LOST:
            return self._after_loss()
        if mark == _WORKER_GONE:
            return self._after_death()
        route = self._route
        if route is None or route.cancelled() or self.started is not None:
            return False
        if mark == _ROUTER_GONE:
            if route.done():
                return False
            return self._ask_anew(route, "the routers keep failing")
        if (failure := route.exception()) is not None:
            self._ended = True
            raise failure if isinstance(failure, TurnoutError) else InternalError("the router's reply is unreadable")
        if (error := route.result().error) is not None:
            self._ended = True
            raise from_info(error)
        self._mind_the_gap()
        return False

    def _after_loss(self) -> bool:
        """The bus was away and a message is missing: go on behind what came, or ask anew if nothing has."""
        route = self._route
        if route is None:
            return False
        if self.started is None:
            self._rename()
            return self._ask_anew(route, "the bus keeps losing the request")
        if not route.done() and self._bus.unsettled:  # what the router says may still be on its way
            self._look_again(_LOST)
            return False
        return self._go_on("a part of the answer was lost on the bus", lost=True)

    def _after_death(self) -> bool:
        """Who answered has died: another goes on, once it is known what the router had decided."""
        route = self._route
        if route is not None and not route.done() and self._looks < _MAX_LOOKS:
            self._looks += 1
            self._look_again(_WORKER_GONE)
            return False
        return self._go_on(_DIED)

    def _look_again(self, mark: bytes) -> None:
        inbox = self._inbox
        if inbox is not None:
            self._watches.append(_later(_LOOK_AGAIN_S, lambda: inbox.offer(mark) if inbox is self._inbox else None))

    def _ask_anew(self, route: asyncio.Task[Routed], failing: str) -> bool:
        route.cancel()
        if self._asks >= _MAX_ASKS:
            raise ComponentUnavailable(failing, retry_after_s=1.0)
        return True

    def _go_on(self, why_not: str, *, lost: bool = False) -> bool:
        """Have another instance go on with the answer, or end it."""
        if self._resume(lost=lost):
            return True
        self._ended = True
        raise ComponentUnavailable(why_not, retry_after_s=1.0)

    def _rename(self) -> None:
        """Give the task another id, and have whoever may still work on it under the old one stop."""
        old = self.task.id
        self.task = msgspec.structs.replace(self.task, id=f"{old.partition('~')[0]}~{self._asks}")
        self._ids.append(self.task.id)
        self._stopping = asyncio.ensure_future(self._cancel(old))

    async def _cancel(self, task_id: str) -> None:
        with suppress(TurnoutError):  # it is of no use to anybody, but does no harm either
            await self._bus.publish(subjects.cancel(self.task.root), task_id.encode())

    def _resume(self, *, lost: bool = False) -> bool:
        """Let another instance of the same model go on behind what was written, where that can be done unseen.

        With `lost` the instance itself may: it lives, but a part of what it wrote has not come. Where no other serves
        now, the router waits a moment for one: the dead one is about to be started again. If that is another model, the
        answer ends.

        It cannot where the answer has more to it than text, or where its prompt was made by others on the way: then
        nobody else has the same prompt.
        """
        request, started, route = self.task.request, self.started, self._route
        if not isinstance(request, ChatRequest) or started is None or route is None or not route.done():
            return False
        if request.tools or not request.stream or self.resumed >= _MAX_RESUMED:
            return False
        routed = None if route.cancelled() or route.exception() is not None else route.result()
        if routed is None or routed.decision.steps or routed.sources:
            return False
        others = [b for b in self._roster.ready(started.component) if lost or b.instance != started.instance]
        if others and not any(beat.model == started.model for beat in others):
            return False
        if not any("resume" in beat.capabilities for beat in (*others, *filter(None, (self._writer,)))):
            return False
        log.info("stream_resumed", request=self.task.root, instance=started.instance, lost=lost)
        self.resumed += 1
        self._model, self.started, self._expected, self._writing = started.model, None, 0, ""
        going_on = msgspec.structs.replace(request, written="".join(self._written))
        self.task = msgspec.structs.replace(self.task, model=started.component, request=going_on)
        self._rename()
        return True

    async def _abandon(self) -> None:
        """Have everybody stop who still works on it."""
        for task_id in self._ids:
            await self._cancel(task_id)


def _later(delay_s: float, call: Callable[[], None]) -> asyncio.Future[None]:
    """Call something after a while, unless the future is cancelled."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = asyncio.get_running_loop().call_later(delay_s, call)
    future.add_done_callback(lambda _: timer.cancel())
    return future


def _wake(route: asyncio.Task[Routed], inbox: Inbox) -> None:
    """Wake the loop. The failure is looked at here too: past the deadline nobody else does, and asyncio would tell."""
    if not route.cancelled():
        route.exception()
    inbox.offer(_ROUTED)
