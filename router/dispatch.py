"""Hands a task to one instance, and notices when that instance dies instead of answering."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import msgspec
import structlog

from services.bus.port import Bus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.errors import ComponentTimeout, ComponentUnavailable, TurnoutError, from_info
from services.contracts.events import ACK_DECODER, ENVELOPE_DECODER, Ack, Envelope, Event, Failed, Finished, Usage
from services.contracts.feedback import Feedback
from services.contracts.messages import Request, Task, encode

log = structlog.get_logger()


@dataclass(frozen=True)
class Attempted:
    """What became of a plain task: all its events, or why there are none; and what it took either way."""

    events: tuple[Event, ...] = ()
    error: TurnoutError | None = None
    spent: Usage = Usage()


class Dispatcher:
    """Sends work to instances and counts what each has been sent since it last spoke."""

    def __init__(self, bus: Bus, roster: Roster) -> None:
        self._bus = bus
        self._roster = roster
        self._sent: dict[str, tuple[Beat, int]] = {}

    def pending(self) -> dict[str, int]:
        """Tasks sent to each instance that its last beat cannot have counted yet."""
        return {name: count for name, (beat, count) in self._sent.items() if self._roster.get(name) is beat}

    async def hand_over(self, task: Task, to: Beat) -> Ack:
        """Return once the instance's first event is on its way to the task's inbox, or none will be.

        The acknowledgement carries an error when it refused, failed before its first event, died, or ran out of time.
        """
        try:
            return await self._hand_over(task, to)
        except TurnoutError as error:
            return Ack(error.to_info())

    async def _hand_over(self, task: Task, to: Beat) -> Ack:
        beat, count = self._sent.get(to.instance, (to, 0))
        self._sent[to.instance] = (to, count + 1 if beat is to else 1)
        remaining_s = task.deadline_s - time.time()
        if remaining_s <= 0:
            raise ComponentTimeout("the deadline passed before work began")
        asking = asyncio.ensure_future(self._bus.ask(subjects.do(to.component, to.instance), encode(task), remaining_s))
        gone = self._roster.watch(to.instance)
        try:
            await asyncio.wait((asking, gone), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise ComponentUnavailable(f"{to.instance} died before it answered", retry_after_s=1.0)
            return ACK_DECODER.decode(asking.result())
        finally:
            asking.cancel()
            gone.cancel()

    async def fetch(self, parent: Task, name: int | str, request: Request, to: Beat) -> tuple[Event, ...]:
        """Have a helper do a small plain task and return its events.

        Raises:
            TurnoutError: it could not.
        """
        done = await self.attempt(parent, name, request, to)
        if done.error is not None:
            raise done.error
        return done.events

    async def attempt(self, parent: Task, name: int | str, request: Request, to: Beat) -> Attempted:
        """Have an instance do a plain task for us; never raises. `name` sets it apart from others of the parent."""
        inbox = self._bus.inbox()
        task = msgspec.structs.replace(
            parent,
            id=f"{parent.id}-r{name}",
            model=to.component,
            request=request,
            inbox=inbox.subject,
            depth=parent.depth + 1,
        )
        try:
            ack = await self.hand_over(task, to)
            if ack.error is not None:
                return Attempted(error=from_info(ack.error), spent=ack.usage)
            # A plain answer is one envelope, already under way when the acknowledgement was sent.
            async with asyncio.timeout(max(0.001, task.deadline_s - time.time())):
                events = ENVELOPE_DECODER.decode(await inbox.next()).events
        except TimeoutError:
            return Attempted(error=ComponentTimeout(f"{to.component} did not answer in time"))
        except TurnoutError as error:
            return Attempted(error=error)
        finally:
            inbox.close()
        last = events[-1]
        if isinstance(last, Failed):
            return Attempted(error=from_info(last.error), spent=last.usage)
        if not isinstance(last, Finished):
            return Attempted(error=ComponentUnavailable(f"{to.component} sent an incomplete answer"))
        return Attempted(events, spent=last.usage)

    async def deliver(self, task: Task, events: tuple[Event, ...]) -> None:
        """Give a whole answer to whoever asked.

        Raises:
            TurnoutError: the bus does not take it.
        """
        await self._bus.publish(task.inbox, encode(Envelope(task.id, 0, events)))

    async def report(self, verdict: Feedback) -> None:
        """Tell every router what is thought of an answer. Where the bus does not take it, nobody learns."""
        try:
            await self._bus.publish(subjects.feedback(verdict.decision_id, verdict.source), encode(verdict))
        except TurnoutError as error:
            log.warning("verdict_not_told", request=verdict.decision_id, reason=error.message)
