"""The runtime around a `Service`: take tasks, admit, run, answer, cancel, beat, drain.

One event loop owns all of it. A task becomes an asyncio task at once, so the subscription never waits for work.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import OrderedDict
from contextlib import aclosing

import msgspec
import structlog
from opentelemetry.trace import Span

from services.bus.port import Bus, Incoming, Subscription
from services.contracts import subjects
from services.contracts.beat import Beat, Speed, State, Totals
from services.contracts.errors import (
    Cancelled,
    ComponentTimeout,
    ComponentUnavailable,
    InternalError,
    InvalidRequest,
    TurnoutError,
)
from services.contracts.events import Ack, Finished, Started, Usage
from services.contracts.messages import Task, decode_task, encode
from services.contracts.price import Price
from services.worker import tracing
from services.worker.announcer import Announcer
from services.worker.answer import Answer
from services.worker.service import Job, Service
from services.worker.signs import Signs
from services.worker.slots import Slots

log = structlog.get_logger()

_REMEMBERED_CANCELS = 4096
_SMOOTHING = 0.2
_WORKING = ("standby", "ready")
_LOADED = (*_WORKING, "draining")


class Worker:
    """One instance of one component."""

    def __init__(
        self,
        bus: Bus,
        service: Service,
        *,
        component: str,
        kind: str,
        instance: str,
        generation: int = 1,
        slots: int = 1,
        queue_max: int = 32,
        standby: bool = False,
    ) -> None:
        self._bus = bus
        self._service = service
        self._component = component
        self._kind = kind
        self._instance = instance
        self._generation = generation
        self._slots = Slots(slots, queue_max)
        self._state: State = "starting"
        self._entered: tuple[State, float] = ("starting", time.time())
        self._share = 1.0
        self._standby = standby
        self._detail = ""
        self._price: Price | None = None
        self._started_s = time.time()
        self._totals = Totals()
        self._first_event_s = 0.0
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._signs = Signs(bus)
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._subscriptions: list[Subscription] = []
        self._announcer = Announcer(bus, self.beat)

    async def start(self) -> None:
        """Announce, load the service, then take work.

        Raises:
            TurnoutError: the service cannot work; it has been announced as failed.
        """
        await self._announcer.start()
        try:
            await self._service.start()
        except TurnoutError as error:
            self._state, self._detail = "failed", error.message
            await self._announcer.announce()
            raise
        self._signs.start()
        self._subscriptions.append(await self._bus.subscribe(subjects.CANCELS, self._on_cancel))
        self._subscriptions.append(
            await self._bus.subscribe(subjects.do(self._component, self._instance), self._on_task)
        )
        await self._bus.flush()  # no router may hear "ready" before the server knows the subscription
        self._state = "standby" if self._standby else "ready"
        await self._announcer.announce()

    async def serve(self, share: float = 1.0) -> None:
        """End the stand-by: from now on routers send work here, or a share of it while an older generation serves."""
        if self._state == "standby" or (self._state == "ready" and self._share != share):
            self._state, self._share = "ready", share
            await self._announcer.announce()

    def reprice(self, price: Price) -> None:
        """Charge by this price from the next task on, in place of the service's own."""
        self._price = price

    async def drain(
        self, grace_s: float, hurry: asyncio.Event | None = None, hurried_s: float = 0.0, *, hand_back: bool = False
    ) -> None:
        """Take nothing new, finish what runs for up to `grace_s`, release everything.

        Once `hurry` is set, what runs has `hurried_s` more. With `hand_back`, what only waits goes back to its router.
        """
        last = self.beat()
        if last.state == "failed":
            self._state, self._detail = "failed", last.detail
        else:
            self._state = "draining"
        await self._announcer.announce()
        if hand_back:
            self._slots.hand_back(f"{self._instance} leaves")
        if self._jobs:
            hurrying = asyncio.create_task((hurry or asyncio.Event()).wait())
            running = asyncio.gather(*self._jobs.values(), return_exceptions=True)
            await asyncio.wait((running, hurrying), timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            if hurrying.done() and not running.done():
                await asyncio.wait((running,), timeout=hurried_s)
            hurrying.cancel()
        for job in tuple(self._jobs.values()):
            job.cancel()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)
        for subscription in self._subscriptions:
            await subscription.stop()
        await self._service.stop()
        await self._signs.stop()
        await self._announcer.farewell()

    def beat(self) -> Beat:
        """The instance as others see it."""
        what = self._service.describe() if self._state in _LOADED else None
        # What a service says of itself counts, but not against an order to leave.
        state = self._state if what is None or self._state == "draining" or what.state == "ready" else what.state
        if state != self._entered[0]:
            self._entered = state, time.time()
        told = Beat(
            component=self._component,
            kind=self._kind,
            instance=self._instance,
            generation=self._generation,
            pid=os.getpid(),
            host=socket.gethostname(),
            state=state,
            detail=self._detail,
            started_s=self._started_s,
            since_s=self._entered[1],
            share=self._share,
        )
        if what is None:
            return told
        return msgspec.structs.replace(
            told,
            model=what.model,
            detail=what.detail,
            capabilities=what.capabilities,
            params=what.params,
            context_tokens=what.context_tokens,
            local=what.local,
            slots=self._slots.slots,
            in_use=self._slots.in_use,
            queued=self._slots.queued,
            queue_max=self._slots.queue_max,
            price=self._price or what.price or Price(),
            speed=Speed(self._slots.service_s, self._first_event_s, self._slots.waited_s),
            totals=self._totals,
            facts=what.facts,
        )

    async def _on_task(self, message: Incoming) -> None:
        try:
            task = decode_task(message.data)
        except msgspec.DecodeError as error:
            log.warning("bad_task", error=str(error))
            refusal = InvalidRequest("the task is not readable").to_info()
            await self._bus.publish(message.reply, encode(Ack(refusal)))
            return
        self._jobs[task.id] = job = asyncio.create_task(self._traced(task, message.reply))
        self._signs.begin(task)
        job.add_done_callback(lambda _: self._ended(task))

    def _ended(self, task: Task) -> None:
        self._jobs.pop(task.id, None)
        self._signs.end(task)

    async def _on_cancel(self, message: Incoming) -> None:
        cancelled = message.data.decode("ascii", "replace")
        self._cancelled[cancelled] = None
        if len(self._cancelled) > _REMEMBERED_CANCELS:
            self._cancelled.popitem(last=False)
        for task_id, job in tuple(self._jobs.items()):
            if descends(task_id, cancelled):
                job.cancel()

    async def _traced(self, task: Task, router_reply: str) -> None:
        with tracing.work_span(task, self._kind, self._component) as (span, traced):
            await self._work(traced, router_reply, span)

    async def _work(self, task: Task, router_reply: str, span: Span) -> None:
        job = Job(task)
        what = self._service.describe()
        price = self._price or what.price
        answer = Answer(self._bus, task, router_reply, Started(self._component, self._instance, what.model))
        error: TurnoutError | None = None
        try:
            if self._state not in _WORKING or what.state != "ready":
                raise ComponentUnavailable(f"{self._component} is {self._state} {what.detail}".rstrip())
            # A cancel may overtake its task: they come from different processes.
            if any(descends(task.id, cancelled) for cancelled in self._cancelled):
                raise Cancelled("cancelled before it began")
            async with self._slots.slot(task.deadline_s, task.wishes.priority):
                self._announcer.poke()
                await self._run(task, job, answer, price)
        except asyncio.CancelledError:
            error = Cancelled("cancelled")
        except TimeoutError:
            error = ComponentTimeout(f"{self._component} did not finish before the deadline")
        except TurnoutError as failure:
            error = failure
        except Exception:  # the boundary: whatever a service does wrong must not take the others down
            log.exception("service_failed", task=task.id)
            error = InternalError(f"{self._component} failed; its log has the details under request {task.root}")
        if error is not None:
            job.spent = _settled(job.spent, price)
            await answer.fail(error, job.spent)
            tracing.note_error(span, error)
        tracing.note_model(span, task, self._kind, self._component, what.model, job.spent)
        self._count(job, error, answer)
        self._announcer.poke()

    async def _run(self, task: Task, job: Job, answer: Answer, price: Price | None) -> None:
        async with (
            asyncio.timeout(task.deadline_s - time.time()),
            aclosing(self._service.run(task, job)) as events,  # type: ignore[type-var]  # services are async generators
        ):
            async for event in events:
                if isinstance(event, Finished):
                    job.spent = event.usage if price is None else price.settle(event.usage)
                    await answer.add(msgspec.structs.replace(event, usage=job.spent))
                else:
                    await answer.add(event)
        await answer.finish()

    def _count(self, job: Job, error: TurnoutError | None, answer: Answer) -> None:
        before = self._totals
        spent = job.spent
        self._totals = Totals(
            requests=before.requests + 1,
            errors=before.errors + (error is not None and not isinstance(error, Cancelled)),
            input_tokens=before.input_tokens + spent.input_tokens,
            output_tokens=before.output_tokens + spent.output_tokens,
            cost_usd=before.cost_usd + spent.cost_usd,
        )
        if (first_s := answer.first_event_s) is not None:
            old = self._first_event_s
            self._first_event_s = first_s if old == 0 else old + _SMOOTHING * (first_s - old)


def descends(task_id: str, ancestor: str) -> bool:
    """Whether a task is `ancestor` or stands beneath it: the id of a sub-task is its parent's, a dash and a number."""
    return task_id == ancestor or task_id.startswith(f"{ancestor}-")


def _settled(spent: Usage, price: Price | None) -> Usage:
    """What a job cost that did not end well. One that had not even begun costs nothing, not the price of a request."""
    return spent if price is None or spent == Usage() else price.settle(spent)
