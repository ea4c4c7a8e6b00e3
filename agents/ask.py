"""How an agent asks other components: every question goes through the router, and every answer leaves a trace.

One `Ask` belongs to one task. It makes the sub-tasks (their ids let a cancel of the root reach all of them), adds up
what they cost, and keeps a `Step` for each, so that an agent's answer shows how it came about.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import NamedTuple

import msgspec

from agents.pieces import Pieces
from services.bus.call import Call
from services.bus.port import Bus
from services.bus.roster import Roster
from services.contracts.errors import InternalError, InvalidRequest, TurnoutError
from services.contracts.events import Delta, Event, Finished, Found, ScreenRead, Started, Step, Usage
from services.contracts.messages import (
    ChatRequest,
    Image,
    ReadRequest,
    Request,
    SearchRequest,
    Task,
    ToolCall,
    Wishes,
)
from services.worker.service import Job

MAX_DEPTH = 4
MAX_STEP_CHARS = 2000
MAX_STEPS = 256  # in one trace, those of the components beneath included


class Answer(NamedTuple):
    """The whole of a chat answer. `text` and `tool_calls` may both be empty."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finished: Finished
    started: Started


class StepNote:
    """What is known of a step while it runs. Whoever does the step fills it in."""

    def __init__(self, name: str, about: str) -> None:
        self.name = name
        self.input = about
        self.output = ""
        self.component = ""


class Ask:
    """Questions on behalf of one task. Not for concurrent use: an agent asks one thing after the other.

    Attributes:
        spent: tokens and USD of all answers so far. `job.spent` is kept equal to it.
        steps: the trace so far, oldest first.
    """

    def __init__(self, bus: Bus, roster: Roster, job: Job) -> None:
        self._bus = bus
        self._roster = roster
        self._job = job
        self._numbers = itertools.count(1)
        self.spent = Usage()
        self._steps: list[Step] = []

    @property
    def steps(self) -> tuple[Step, ...]:
        """The trace so far, oldest first."""
        return tuple(self._steps)

    async def chat(
        self,
        request: ChatRequest,
        model: str = "auto",
        *,
        name: str = "chat",
        quality: float | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Ask a chat component and wait for the whole answer.

        Args:
            request: sent as a plain request, so that the router may still retry elsewhere until the answer is complete.
            model: `auto` or a component's name.
            name: of the step in the trace.
            quality: floor for this question alone; None: that of the task.
            timeout_s: seconds this question may take; the task's deadline holds all the same.

        Raises:
            InvalidRequest: too many components stand above this task.
            TurnoutError: nobody could answer.
        """
        plain = msgspec.structs.replace(request, stream=False)
        pieces = Pieces()
        end = Finished(Usage())
        async with aclosing(self._chat(plain, model, name, quality, timeout_s, pieces)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    end = event
        return Answer(pieces.text, pieces.tool_calls, end, pieces.started)

    async def chat_stream(
        self,
        request: ChatRequest,
        model: str = "auto",
        *,
        name: str = "chat",
        quality: float | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Delta | Finished]:
        """Ask a chat component and pass its pieces on as they come, `Finished` last. Arguments as for `chat`.

        Close it early (`contextlib.aclosing`) and the work behind it is cancelled.

        Raises:
            InvalidRequest: too many components stand above this task.
            TurnoutError: nobody could answer, or the answer broke off.
        """
        streamed = msgspec.structs.replace(request, stream=True)
        async with aclosing(self._chat(streamed, model, name, quality, timeout_s, Pieces())) as events:
            async for event in events:
                yield event

    async def read(self, image: Image, model: str = "auto", *, name: str = "read") -> ScreenRead:
        """The lines of text on an image.

        Raises:
            InvalidRequest: too many components stand above this task, or the image cannot be read.
            TurnoutError: nobody could answer.
        """
        about = f"{image.mime} {image.width_px}x{image.height_px} px"
        with self.step(name, about) as note:
            async with aclosing(self._events(ReadRequest(image), model, note)) as events:
                screens = [event async for event in events if isinstance(event, ScreenRead)]
            if not screens:
                raise InternalError("the image was answered without its lines")
            note.output = "\n".join(line.text for line in screens[-1].lines)
        return screens[-1]

    async def search(self, query: str, k: int = 4, model: str = "auto", *, name: str = "search") -> Found:
        """The best `k` passages of the user's documents.

        Raises:
            InvalidRequest: too many components stand above this task.
            TurnoutError: nobody could answer.
        """
        with self.step(name, query) as note:
            async with aclosing(self._events(SearchRequest(query, k), model, note)) as events:
                found = [event async for event in events if isinstance(event, Found)]
            if not found:
                raise InternalError("the search was answered without passages")
            note.output = "\n".join(f"{passage.source}: {passage.text}" for passage in found[-1].passages)
        return found[-1]

    @contextmanager
    def step(self, name: str, about: str) -> Iterator[StepNote]:
        """Record what the block does as one step, failed or not. For an agent's own work too, such as a local tool."""
        note = StepNote(name, about)
        begun_s = time.monotonic()
        error: str | None = "given up"  # stays only if the block is cancelled or closed
        try:
            yield note
            error = None
        except TurnoutError as failure:
            error = f"{failure.code}: {failure.message}"
            raise
        except Exception as failure:
            error = f"{InternalError.code}: {type(failure).__name__}"
            raise
        finally:
            took_ms = (time.monotonic() - begun_s) * 1000
            self._record(Step(name, bounded(note.input), bounded(note.output), took_ms, note.component, error))

    async def _chat(
        self,
        request: ChatRequest,
        model: str,
        name: str,
        quality: float | None,
        timeout_s: float | None,
        pieces: Pieces,
    ) -> AsyncGenerator[Delta | Finished]:
        about = request.messages[-1].text if request.messages else ""
        end: Finished | None = None
        with self.step(name, about) as note:
            try:
                async with aclosing(self._events(request, model, note, quality, timeout_s)) as events:
                    async for event in events:
                        if isinstance(event, Started | Delta):
                            pieces.add(event)
                        if isinstance(event, Delta):
                            yield event
                        elif isinstance(event, Finished):
                            end = event
            finally:
                note.output = pieces.summary
        if end is None:
            raise InternalError("the answer ended without an end")
        yield end  # after the step is on record, so that whoever sees the end sees the whole trace

    async def _events(
        self,
        request: Request,
        model: str,
        note: StepNote,
        quality: float | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Event]:
        task = sub_task(self._job.task, next(self._numbers), request, model, self.spent, quality, timeout_s)
        call = Call(self._bus, self._roster, task)
        try:
            async with aclosing(call.events()) as events:  # type: ignore[type-var]  # `events` is an async generator
                async for event in events:
                    if isinstance(event, Started):
                        note.component = event.component
                    elif isinstance(event, Finished):
                        self._charge(event.usage)
                        for step in event.steps:
                            self._record(step)
                    yield event
        except TurnoutError:
            self._charge(call.spent)
            raise

    def _charge(self, usage: Usage) -> None:
        self.spent += usage
        self._job.spent = self.spent

    def _record(self, step: Step) -> None:
        if len(self._steps) < MAX_STEPS:
            self._steps.append(step)


def sub_task(
    parent: Task,
    number: int,
    request: Request,
    model: str,
    spent: Usage,
    quality: float | None = None,
    timeout_s: float | None = None,
) -> Task:
    """The `number`th task beneath `parent`: same root, tenant, trace and privacy, no later deadline, no more money.

    Raises:
        InvalidRequest: `MAX_DEPTH` components stand above it already, which is a loop and not a plan.
    """
    if parent.depth >= MAX_DEPTH:
        raise InvalidRequest(f"more than {MAX_DEPTH} components asked one another for this request")
    asked = parent.wishes
    wishes = Wishes(
        quality=asked.quality if quality is None else quality,
        max_cost_usd=None if asked.max_cost_usd is None else max(0.0, asked.max_cost_usd - spent.cost_usd),
        privacy=asked.privacy,
        strict=asked.strict,
        priority=asked.priority,
    )
    deadline_s = parent.deadline_s if timeout_s is None else min(parent.deadline_s, time.time() + timeout_s)
    return msgspec.structs.replace(
        parent,
        id=f"{parent.id}-{number}",
        model=model,
        request=request,
        inbox="",
        deadline_s=deadline_s,
        wishes=wishes,
        depth=parent.depth + 1,
    )


def bounded(text: str, most_chars: int = MAX_STEP_CHARS) -> str:
    """`text`, cut to `most_chars` with an ellipsis if it is longer."""
    return text if len(text) <= most_chars else text[: most_chars - 1] + "…"
