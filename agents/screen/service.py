"""The screen agent as a component: a chat that sees, made of a reader, a search and a chat that does not."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from agents.ask import Ask
from agents.screen.graph import NODES, Context, Graph, Result, State, build
from services.contracts import catalog
from services.contracts.errors import ConfigError, InternalError, InvalidRequest, Unsupported
from services.contracts.events import Delta, Event, Finished
from services.contracts.messages import ChatRequest, Task
from services.worker.service import Description, Job, Surroundings

_LEAST_STEPS = 2  # to look, and to answer


class ScreenAgent:
    """The handler of a `screen_agent` component."""

    def __init__(self, spec: catalog.ScreenAgent, around: Surroundings) -> None:
        if around.roster is None:
            raise ConfigError("the screen agent needs to know who lives")
        self._roster = around.roster
        self._bus = around.bus
        self._component = around.component
        self._max_steps = spec.max_steps
        self._graph: Graph | None = None

    async def start(self) -> None:
        """Build the graph.

        Raises:
            ConfigError: `max_steps` leaves no room to look and to answer.
        """
        if self._max_steps < _LEAST_STEPS:
            raise ConfigError(f"{self._component}: max_steps must be at least {_LEAST_STEPS}: to look, and to answer")
        self._graph = build()

    def describe(self) -> Description:
        """It has no price of its own: an answer costs what those beneath it cost."""
        return Description("screen-agent", ("chat", "image"), price=None)

    async def run(self, task: Task, job: Job) -> AsyncGenerator[Event, None]:
        """Answer a question about the images of a chat.

        Raises:
            Unsupported: no image, or tools.
            InvalidRequest: more images than there are steps for.
            TurnoutError: an image could not be read, or nobody could answer.
        """
        state = self._first_state(task)
        ask = Ask(self._bus, self._roster, job)
        context = Context(ask, self._roster, local_only=task.wishes.privacy == "local")
        if self._graph is None:
            raise InternalError("the screen agent has not started")
        stream = self._graph.astream(state, {"recursion_limit": NODES + 1}, context=context, stream_mode="custom")
        async with aclosing(stream) as events:  # type: ignore[type-var]  # `astream` is an async generator
            async for event in events:
                if isinstance(event, Delta):
                    yield event
                elif isinstance(event, Result):
                    yield Finished(
                        ask.spent,
                        event.finished.reason,
                        steps=ask.steps,
                        sources=event.state["passages"],
                        detail=_detail(event.state),
                    )

    async def stop(self) -> None:
        """Nothing is held between tasks."""

    def _first_state(self, task: Task) -> State:
        request = task.request
        if not isinstance(request, ChatRequest):
            raise Unsupported("the screen agent answers chats and nothing else")
        if not request.images:
            raise Unsupported("the screen agent needs an image to look at", param="messages")
        if request.tools:
            raise Unsupported("the screen agent calls no tools of the client", param="tools")
        if len(request.images) > self._max_steps - 1:
            raise InvalidRequest(
                f"{len(request.images)} images; this agent has steps to look at {self._max_steps - 1}", param="messages"
            )
        return {"request": request, "steps_left": self._max_steps}


def _detail(state: State) -> dict[str, Any]:
    intent: dict[str, Any] = {}
    if "intent" in state:
        intent = {"intent": msgspec.to_builtins(state["intent"]), "intent_from": state["intent_from"]}
    return {
        **intent,
        "lines": [
            {**msgspec.to_builtins(line), "image": number}
            for number, screen in enumerate(state["screens"])
            for line in screen.lines
        ],
    }
