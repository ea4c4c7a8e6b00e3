"""One task sent for one HTTP request: built, routed, accounted for and recorded, however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType

import msgspec
import structlog

from services.bus.call import ROUTER, Call
from services.contracts.decision import Decision, Routed
from services.contracts.errors import (
    Cancelled,
    ComponentUnavailable,
    ContextLengthExceeded,
    InternalError,
    ModelNotFound,
    PayloadTooLarge,
    TurnoutError,
)
from services.contracts.events import Delta, Event, Finished, Passage, Started
from services.contracts.form import misfit
from services.contracts.messages import ChatRequest, Request, ResponseFormat, Task, encode
from services.gateway import shadows
from services.gateway.answers import TurnoutOut, turnout_out
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.schema import WishesIn
from services.gateway.signals import verdict_on
from services.gateway.translate import to_wishes

log = structlog.get_logger()

AUTO = "auto"
_TEXT = ResponseFormat()
_OWN_KINDS = frozenset(("gateway", "router"))
_ENVELOPE_BYTES = 16 * 1024  # what a hop may add around a task
_TRACEPARENT_CHARS = 55


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `result` is the one event of work that is not chat."""

    started: Started
    deltas: tuple[Delta, ...]
    result: Event | None
    finished: Finished
    turnout: TurnoutOut


class Asking:
    """A task on its way. Use as a context: leaving it with an error records that error."""

    def __init__(
        self, edge: Edge, exchange: Exchange, request: Request, model: str, wishes: WishesIn, user: str = ""
    ) -> None:
        self._edge = edge
        self._exchange = exchange
        self._settled = False
        self._decision: Decision | None = None
        self._sources: tuple[Passage, ...] = ()
        self._created_s = time.time()
        form = request.response_format if isinstance(request, ChatRequest) else _TEXT
        self._form: ResponseFormat | None = None if form.type == "text" else form
        self._written: list[str] = []
        deadline_ms = wishes.deadline_ms or exchange.state.snapshot.catalog.router.deadline_ms
        self.task = Task(
            id=exchange.id,
            root=exchange.id,
            model=model,
            request=request,
            inbox="",
            deadline_s=self._created_s + deadline_ms / 1000,
            wishes=to_wishes(wishes),
            tenant=exchange.tenant,
            traceparent=_traceparent(exchange),
        )
        self._shadow = shadows.wanted(exchange.state.snapshot, self.task)
        self._user = user
        self._retry_window_s = exchange.state.snapshot.catalog.router.retry_window_s
        self._question: bytes | None = None
        self._call = Call(edge.bus, edge.roster, self.task)

    @property
    def created_s(self) -> int:
        """When the request was taken, in whole seconds since the epoch."""
        return int(self._created_s)

    async def __aenter__(self) -> Asking:
        self._exchange.routed = True
        self._question = self._edge.retries.asked(self.task, self._user, self._retry_window_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None and not self._settled:
            failure = _failure(error)
            completing = asyncio.create_task(self._complete_failed(failure))
            self._edge.decisions.keep_later(self.task.id, completing)
            self._edge.retries.ended(self._question, None, self._retry_window_s)

    async def events(self) -> AsyncIterator[Event]:
        """The events of the answer, `Started` noted and left out.

        Raises:
            TurnoutError: what ended it.
        """
        try:
            async with aclosing(self._call.events()) as events:  # type: ignore[type-var]  # it is an async generator
                async for event in events:
                    if isinstance(event, Started):
                        self._exchange.component = event.component
                        continue
                    if self._exchange.first_token_s is None:
                        self._exchange.first_token_s = self._exchange.elapsed_s
                    if (self._form is not None or self._shadow is not None) and isinstance(event, Delta):
                        self._written.append(event.text)
                    yield event
        except ComponentUnavailable as error:
            if self._call.started is None and not self._edge.roster.ready(ROUTER):
                raise ComponentUnavailable("no router is running", retry_after_s=1.0) from error
            raise

    async def decision(self) -> Decision | None:
        """The router's decision, which comes in the moment of the first event. None if the router died then."""
        if self._decision is None:
            routed: Routed | None = await self._call.routed()
            if routed is not None:
                self._decision, self._sources = routed.decision, routed.sources
        return self._decision

    async def answer(self) -> Answer:
        """The whole answer, settled.

        Raises:
            TurnoutError: what ended it.
        """
        deltas: list[Delta] = []
        result: Event | None = None
        finished: Finished | None = None
        async with aclosing(self.events()) as events:  # type: ignore[type-var]  # it is an async generator
            async for event in events:
                if isinstance(event, Delta):
                    deltas.append(event)
                elif isinstance(event, Finished):
                    finished = event
                else:
                    result = event
        if finished is None:
            raise InternalError("the answer has no end")
        await self.decision()
        turnout = self.settle(finished)
        self._exchange.cost_usd = turnout.cost_usd
        return Answer(self.started, tuple(deltas), result, finished, turnout)

    @property
    def started(self) -> Started:
        """Who answers."""
        if self._call.started is None:
            raise InternalError("an answer came from nobody")
        return self._call.started

    def settle(self, finished: Finished) -> TurnoutOut:
        """Account for a good answer and keep its record; call it before the client can see the end."""
        self._settled = True
        self._edge.metrics.spend(self.started.component, finished.usage)
        self._edge.metrics.resume(self._call.resumed)
        decision = self._completed(self._decision)
        decision = msgspec.structs.replace(
            decision,
            usage=decision.usage + finished.usage,
            finish_reason=finished.reason,
            steps=decision.steps + finished.steps,
        )
        self._edge.decisions.keep(decision)
        whole = finished.reason == "stop"
        if self._form is not None and whole:
            self._judge(decision, self._form)
        if self._question is not None:
            self._watch(decision if whole and decision.prior_quality is not None else None)
        if self._shadow is not None and self._shadow != decision.component:
            deadline_s = self._exchange.state.snapshot.catalog.router.deadline_ms / 1000
            self._edge.shadows.send(self.task, self._shadow, decision, "".join(self._written), deadline_s)
        return turnout_out(self.started, decision, self._sources + finished.sources, finished.detail)

    def _judge(self, decision: Decision, form: ResponseFormat) -> None:
        """An answer that is not in the form asked for is a bad one, whatever it says: that needs nobody to tell."""
        why = misfit("".join(self._written), form)
        verdict = verdict_on(decision, 0.0, "schema")
        expected = decision.predicted_quality
        weight = 0.0
        if expected is not None:
            weight = self._edge.forms.weight(verdict.steps, verdict.model, expected, fits=why is None)
        if why is not None:
            log.info("answer_misfit", id=decision.id, component=decision.component, why=why, weight=round(weight, 3))
            self._edge.signals.send(msgspec.structs.replace(verdict, weight=weight))

    def _watch(self, decision: Decision | None) -> None:
        """Note an answer that may be asked for again, and pass on what has come of earlier ones."""
        answer = None if decision is None else verdict_on(decision, 0.0, "retried")
        self._edge.retries.ended(self._question, answer, self._retry_window_s)
        for verdict in self._edge.retries.take():
            log.info("asked_again", id=verdict.decision_id, steps=verdict.steps, quality=round(verdict.quality, 3))
            self._edge.signals.send(verdict)

    async def _complete_failed(self, failure: TurnoutError) -> Decision:
        decision = self._completed(await self.decision())
        return msgspec.structs.replace(decision, error=failure.to_info(), finish_reason="error")

    def _completed(self, decision: Decision | None) -> Decision:
        """The decision with what only the gateway knows; a bare one if no router ever answered."""
        exchange = self._exchange
        if decision is None:
            decision = Decision(
                self.task.id, self._created_s, self.task.model, exchange.state.snapshot.revision, exchange.component
            )
        first_s = exchange.first_token_s
        return msgspec.structs.replace(
            decision,
            id=self.task.id,
            tenant=exchange.tenant,
            trace_id=self.task.traceparent[3:35],
            first_token_ms=None if first_s is None else first_s * 1000,
            total_ms=exchange.elapsed_s * 1000,
        )


def check_model(edge: Edge, exchange: Exchange, model: str) -> None:
    """Refuse a name that no component has.

    Raises:
        ModelNotFound: neither the catalog nor the roster knows it.
    """
    if model == AUTO:
        return
    spec = exchange.state.snapshot.catalog.components.get(model)
    if spec is not None and spec.enabled:
        return
    # The roster hears of a new component up to two seconds before the catalog is read again.
    if spec is None and any(b.component == model and b.kind not in _OWN_KINDS for b in edge.roster.all()):
        return
    shown = model[:64].encode("utf-8", "replace").decode()
    raise ModelNotFound(f"The model {shown!r} does not exist; GET /v1/models lists those that do", param="model")


def check_size(edge: Edge, task: Task, hint_bytes: int) -> None:
    """Refuse a task that no hop of the bus would carry. `hint_bytes` spares small tasks the measuring.

    Raises:
        ContextLengthExceeded: a conversation longer than any component takes.
        PayloadTooLarge: other work that is too large.
    """
    room_bytes = edge.bus.max_payload_bytes - _ENVELOPE_BYTES
    if hint_bytes * 2 < room_bytes or len(encode(task)) <= room_bytes:
        return
    if isinstance(task.request, ChatRequest):
        raise ContextLengthExceeded(
            f"the conversation is longer than {room_bytes} bytes, more than any component takes", param="messages"
        )
    raise PayloadTooLarge(f"the request is larger than {room_bytes} bytes")


def _traceparent(exchange: Exchange) -> str:
    """The caller's trace context, or a new one whose trace has the request's id.

    Source: https://www.w3.org/TR/trace-context/
    """
    given = exchange.header(b"traceparent")
    if given is not None and len(given) == _TRACEPARENT_CHARS and given.startswith(b"00-"):
        parts = given.decode("ascii", "replace").split("-")
        if [len(part) for part in parts] == [2, 32, 16, 2] and all(set(p) <= _HEX for p in parts) and int(parts[1], 16):
            return "-".join(parts)
    return f"00-{exchange.id}-{exchange.id[16:]}-01"


_HEX = frozenset("0123456789abcdef")


def _failure(error: BaseException) -> TurnoutError:
    if isinstance(error, TurnoutError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Cancelled("the gateway stopped before the answer was complete")
    return InternalError("the gateway failed")
