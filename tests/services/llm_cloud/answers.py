"""Collects the events of one answer."""

from __future__ import annotations

from dataclasses import dataclass

from services.contracts.events import Delta, Event, Finished, TokenLogprob, ToolCallDelta
from services.contracts.messages import ChatRequest
from services.worker.answer import merged
from tests.support.direct import Direct


@dataclass
class Heard:
    """A whole answer."""

    text: str
    refusal: str
    calls: tuple[ToolCallDelta, ...]
    logprobs: tuple[TokenLogprob, ...]
    finished: Finished

    @classmethod
    def of(cls, events: list[Event]) -> Heard:
        """The answer that `events` make."""
        whole = next((e for e in merged([e for e in events if isinstance(e, Delta)]) if isinstance(e, Delta)), Delta())
        end = events[-1]
        assert isinstance(end, Finished)
        return cls(whole.text, whole.refusal, whole.tool_calls, whole.logprobs, end)


async def hear(direct: Direct, request: ChatRequest, timeout_s: float = 20.0) -> Heard:
    """Ask, and listen to the end."""
    return Heard.of([event async for event in direct.events(request, timeout_s=timeout_s)])
