"""Shadow mode: a copy of a share of the requests goes to another component, and both answers are kept.

The copy is sent once the client has its answer, with the lowest priority and at the operator's cost, so that the
client's answer, its time and its budget know nothing of it. When as many copies are under way as may be, the next
ones are left out.
"""

from __future__ import annotations

import secrets
import time
from contextlib import aclosing

import msgspec
import structlog

from services.bus.call import Call
from services.bus.port import Bus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.catalog import Snapshot
from services.contracts.decision import Decision
from services.contracts.draw import draw
from services.contracts.errors import TurnoutError
from services.contracts.events import Delta, Finished
from services.contracts.messages import ChatRequest, Task, Wishes, encode
from services.contracts.shadow import Shadow, Side
from services.gateway.metrics import Metrics
from services.worker.background import Background

log = structlog.get_logger()

MAX_AT_ONCE = 8
MAX_CHARS = 32_000


class Shadows:
    """The copies of this gateway's requests that are under way."""

    def __init__(self, bus: Bus, roster: Roster, metrics: Metrics) -> None:
        self._bus = bus
        self._roster = roster
        self._metrics = metrics
        self._copies = Background(MAX_AT_ONCE)

    def send(self, task: Task, component: str, decision: Decision, text: str, deadline_s: float) -> None:
        """Ask `component` the same, in the background. Never blocks."""
        if self._copies.full:
            log.info("shadow_left_out", id=decision.id)
            return
        self._copies.start(self._compare(task, component, decision, text, deadline_s))

    async def finish(self) -> None:
        """Give up what is under way; for the end of the process."""
        await self._copies.stop()

    async def settled(self) -> None:
        """Return when nothing is under way."""
        await self._copies.settled()

    async def _compare(self, task: Task, component: str, decision: Decision, text: str, deadline_s: float) -> None:
        if not isinstance(task.request, ChatRequest):
            return
        side = await self._asked(task, task.request, component, deadline_s)
        answer = Side(
            decision.component,
            decision.model,
            text[:MAX_CHARS],
            len(text) > MAX_CHARS,
            decision.finish_reason,
            decision.total_ms or 0.0,
            decision.usage,
        )
        question = task.request.question[:MAX_CHARS]
        pair = Shadow(decision.id, decision.created_s, decision.tenant, question, answer, side)
        try:
            await self._bus.record(subjects.shadow(decision.id), encode(pair))
        except TurnoutError as error:
            log.warning("shadow_not_recorded", id=decision.id, reason=error.message)

    async def _asked(self, task: Task, request: ChatRequest, component: str, deadline_s: float) -> Side:
        began_s = time.time()
        name = secrets.token_hex(16)
        copy = Task(
            id=name,
            root=name,
            model=component,
            request=msgspec.structs.replace(request, stream=False),
            inbox="",
            deadline_s=began_s + deadline_s,
            wishes=Wishes(privacy=task.wishes.privacy, priority="low"),
            tenant=task.tenant,
        )
        call = Call(self._bus, self._roster, copy)
        text: list[str] = []
        end: Finished | None = None
        try:
            async with aclosing(call.events()) as events:  # type: ignore[type-var]  # it is an async generator
                async for event in events:
                    if isinstance(event, Delta):
                        text.append(event.text)
                    elif isinstance(event, Finished):
                        end = event
        except TurnoutError as error:
            self._metrics.spend(component, call.spent)
            return Side(component, error=error.to_info(), total_ms=(time.time() - began_s) * 1000, usage=call.spent)
        if end is None or call.started is None:
            return Side(component)
        self._metrics.spend(component, end.usage)
        whole = "".join(text)
        return Side(
            component,
            call.started.model,
            whole[:MAX_CHARS],
            len(whole) > MAX_CHARS,
            end.reason,
            (time.time() - began_s) * 1000,
            end.usage,
        )


def wanted(snapshot: Snapshot, task: Task) -> str | None:
    """The component to put a copy of this task to, or None. The draw is made of the task's id."""
    rules = snapshot.catalog.router.shadow
    request = task.request
    if rules is None or not isinstance(request, ChatRequest):
        return None
    if draw(task.id, "shadow") >= rules.share or _elsewhere(request):
        return None
    return rules.component


def _elsewhere(request: ChatRequest) -> bool:
    """Whether it has images that lie in the bus's store: these are deleted with the client's answer."""
    return any(image.blob.ref is not None for image in request.images)
