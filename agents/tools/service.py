"""The tool agent as a component: a chat whose numbers are exact."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime

from agents.ask import Ask
from agents.tools.dates import all_zones
from agents.tools.graph import Context, Graph, State, build, passages, recursion_limit
from agents.tools.toolbox import Clock, Toolbox
from services.bus.roster import Roster
from services.contracts import catalog
from services.contracts.errors import ConfigError, InternalError, Unsupported
from services.contracts.events import Delta, Event, Finished, Found
from services.contracts.messages import ChatRequest, Task
from services.worker.service import Description, Job, Surroundings

_AGENTS = frozenset({"tool_agent", "screen_agent"})


def local_now() -> datetime:
    """The time here, with its zone."""
    return datetime.now().astimezone()


class ToolAgent:
    """The handler of a `tool_agent` component."""

    def __init__(self, spec: catalog.ToolAgent, around: Surroundings, clock: Clock = local_now) -> None:
        if around.roster is None:
            raise ConfigError("the tool agent needs to know who lives")
        self._roster: Roster = around.roster
        self._bus = around.bus
        self._component = around.component
        self._max_steps = spec.max_steps
        self._clock = clock
        self._graph: Graph | None = None

    async def start(self) -> None:
        """Build the graph, and read what is slow to read."""
        await asyncio.to_thread(all_zones)
        self._graph = build()

    def describe(self) -> Description:
        """It has no price of its own: an answer costs what those beneath it cost."""
        return Description("tool-agent", ("chat",), price=None)

    async def run(self, task: Task, job: Job) -> AsyncGenerator[Event, None]:
        """Answer a question with tools.

        Raises:
            Unsupported: not a chat in text, or nobody is there to understand it; another component may.
            TurnoutError: the model that was asked failed.
        """
        request = self._accepted(task)
        if self._graph is None:
            raise InternalError("the tool agent has not started")
        ask = Ask(self._bus, self._roster, job)
        local_only = task.wishes.privacy == "local"
        tools = Toolbox(self._clock, self._searcher(ask))
        context = Context(ask, tools, self._has_model(local_only=local_only), self._max_steps)
        first: State = {"request": request}
        limit = recursion_limit(self._max_steps)
        last: State = await self._graph.ainvoke(first, {"recursion_limit": limit}, context=context)  # type: ignore[assignment]  # typed as a plain dict
        if last["text"]:
            yield Delta(last["text"])
        detail = {"replaced_numbers": last["replaced"]} if last["replaced"] else {}
        yield Finished(ask.spent, last["reason"], steps=ask.steps, sources=passages(last), detail=detail)

    async def stop(self) -> None:
        """Nothing is held between tasks."""

    def _accepted(self, task: Task) -> ChatRequest:
        request = task.request
        if not isinstance(request, ChatRequest):
            raise Unsupported(f"{self._component} answers chats and nothing else")
        if request.tools:
            raise Unsupported(f"{self._component} calls no tools of the client", param="tools")
        if request.images:
            raise Unsupported(f"{self._component} cannot see images", param="messages")
        if request.response_format.type != "text":
            raise Unsupported(f"{self._component} answers in plain text only", param="response_format")
        return request

    def _searcher(self, ask: Ask) -> _Search | None:
        able = any("search" in beat.capabilities for beat in self._roster.ready())
        return _Search(ask) if able else None

    def _has_model(self, *, local_only: bool) -> bool:
        return any(
            "chat" in beat.capabilities and "tools" in beat.capabilities and beat.kind not in _AGENTS
            for beat in self._roster.ready()
            if beat.local or not local_only
        )


class _Search:
    """The toolbox's way to the documents."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def __call__(self, query: str, k: int) -> Found:
        return await self._ask.search(query, k)
