"""From our events to OpenAI's objects. Pure.

Source: https://platform.openai.com/docs/api-reference/chat/object and .../chat-streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from services.contracts.decision import Candidate, Decision
from services.contracts.events import (
    Delta,
    Event,
    Finished,
    Passage,
    Started,
    Step,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)


class PromptDetails(msgspec.Struct, frozen=True):
    """`prompt_tokens_details`."""

    cached_tokens: int


class UsageOut(msgspec.Struct, frozen=True):
    """`usage`."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class TopLogprob(msgspec.Struct, frozen=True):
    """A rival of a token. `bytes` is null where the token is not whole UTF-8."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprobOut(msgspec.Struct, frozen=True):
    """A token of the answer and how probable it was."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class LogprobsOut(msgspec.Struct, frozen=True):
    """`logprobs` of a choice."""

    content: list[TokenLogprobOut]
    refusal: None = None


class FunctionOut(msgspec.Struct, frozen=True):
    """Name and arguments of a call; in a stream, the pieces of them."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallOut(msgspec.Struct, frozen=True):
    """A tool call, whole or a piece of one. `index` is for streams only."""

    function: FunctionOut
    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class MessageOut(msgspec.Struct, frozen=True):
    """The assistant's turn."""

    content: str | None
    refusal: str | None
    role: Literal["assistant"] = "assistant"
    tool_calls: list[ToolCallOut] | UnsetType = UNSET


class ChoiceOut(msgspec.Struct, frozen=True):
    """The one choice."""

    message: MessageOut
    finish_reason: str
    logprobs: LogprobsOut | None = None
    index: int = 0


class TurnoutOut(msgspec.Struct, frozen=True):
    """Our own section of an answer: who, why, at what price, from which sources."""

    component: str
    model: str
    decision_id: str
    cost_usd: float
    degraded: str | None = None
    sources: Sequence[Passage] | UnsetType = UNSET
    steps: Sequence[Step] | UnsetType = UNSET
    detail: dict[str, Any] | UnsetType = UNSET


class ChatOut(msgspec.Struct, frozen=True):
    """`chat.completion`."""

    id: str
    created: int
    model: str
    choices: list[ChoiceOut]
    usage: UsageOut
    turnout: TurnoutOut
    object: Literal["chat.completion"] = "chat.completion"


class DeltaOut(msgspec.Struct, frozen=True):
    """What a chunk adds."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType = UNSET
    tool_calls: list[ToolCallOut] | UnsetType = UNSET


class ChunkChoiceOut(msgspec.Struct, frozen=True):
    """The one choice of a chunk."""

    delta: DeltaOut
    finish_reason: str | None = None
    logprobs: LogprobsOut | None = None
    index: int = 0


class ChunkOut(msgspec.Struct, frozen=True):
    """`chat.completion.chunk`. `usage` is null in all but the last when the client asked for it."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoiceOut]
    usage: UsageOut | UnsetType | None = UNSET
    turnout: TurnoutOut | UnsetType = UNSET
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"


def usage_out(usage: Usage) -> UsageOut:
    """The tokens in OpenAI's form."""
    return UsageOut(
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens + usage.output_tokens,
        PromptDetails(usage.cached_tokens),
    )


def turnout_out(started: Started, decision: Decision, sources: Sequence[Passage], detail: dict[str, Any]) -> TurnoutOut:
    """Our section of an answer. `decision` is complete: its usage is that of everything the request took."""
    return TurnoutOut(
        component=started.component,
        model=started.model,
        decision_id=decision.id,
        cost_usd=decision.usage.cost_usd,
        degraded=decision.degraded,
        sources=sources or UNSET,
        steps=decision.steps or UNSET,
        detail=detail or UNSET,
    )


def chat_out(
    id_: str, created_s: int, started: Started, deltas: Sequence[Delta], finished: Finished, turnout: TurnoutOut
) -> ChatOut:
    """A whole answer from its pieces."""
    text = "".join(delta.text for delta in deltas)
    refusal = "".join(delta.refusal for delta in deltas)
    calls = _whole_calls(deltas)
    logprobs = [logprob for delta in deltas for logprob in delta.logprobs]
    message = MessageOut(
        content=None if not text and (calls or refusal) else text,
        refusal=refusal or None,
        tool_calls=calls or UNSET,
    )
    choice = ChoiceOut(message, finished.reason, _logprobs(logprobs) if logprobs else None)
    return ChatOut(f"chatcmpl-{id_}", created_s, started.component, [choice], usage_out(finished.usage), turnout)


def first_out(event: Event) -> ChunkChoiceOut:
    """The chunk that names the role. An answer that begins with a tool call or a refusal has null for content."""
    speechless = isinstance(event, Delta) and not event.text and (event.tool_calls or event.refusal)
    return ChunkChoiceOut(DeltaOut(role="assistant", content=None if speechless else ""))


def delta_out(delta: Delta) -> ChunkChoiceOut:
    """One piece of a streamed answer."""
    calls = [
        ToolCallOut(
            FunctionOut(UNSET if call.name is None else call.name, call.arguments),
            call.index,
            UNSET if call.id is None else call.id,
            UNSET if call.id is None else "function",
        )
        for call in _one_each(delta.tool_calls)
    ]
    return ChunkChoiceOut(
        DeltaOut(
            content=UNSET if not delta.text and (calls or delta.refusal) else delta.text,
            refusal=delta.refusal or UNSET,
            tool_calls=calls or UNSET,
        ),
        logprobs=_logprobs(delta.logprobs) if delta.logprobs else None,
    )


def predicted_cost_usd(decision: Decision | None) -> float | None:
    """What the router expected the chosen way to cost; None if that is not known."""
    if decision is None:
        return None
    chosen = [candidate for candidate in decision.candidates if candidate.rejected is None]
    answering = [candidate for candidate in chosen if _answerer(candidate) == decision.component]
    best = next(iter(answering or chosen), None)
    return None if best is None else best.cost_usd


def _answerer(candidate: Candidate) -> str:
    return candidate.steps[-1] if candidate.steps else ""


def _one_each(pieces: Sequence[ToolCallDelta]) -> list[ToolCallDelta]:
    """One piece of each call: many clients read no second one in a chunk, and OpenAI sends none."""
    calls: dict[int, ToolCallDelta] = {}
    for piece in pieces:
        known = calls.get(piece.index, ToolCallDelta(piece.index))
        calls[piece.index] = ToolCallDelta(
            piece.index, known.id or piece.id, known.name or piece.name, known.arguments + piece.arguments
        )
    return list(calls.values())


def _whole_calls(deltas: Sequence[Delta]) -> list[ToolCallOut]:
    names: dict[int, str] = {}
    ids: dict[int, str] = {}
    arguments: dict[int, list[str]] = {}
    for piece in (call for delta in deltas for call in delta.tool_calls):
        arguments.setdefault(piece.index, []).append(piece.arguments)
        if piece.id is not None:
            ids.setdefault(piece.index, piece.id)
        if piece.name is not None:
            names.setdefault(piece.index, piece.name)
    return [
        ToolCallOut(
            FunctionOut(names.get(index, ""), "".join(pieces)), id=ids.get(index, f"call_{index}"), type="function"
        )
        for index, pieces in sorted(arguments.items())
    ]


def _logprobs(logprobs: Sequence[TokenLogprob]) -> LogprobsOut:
    return LogprobsOut(
        [
            TokenLogprobOut(
                one.token,
                one.logprob,
                _token_bytes(one.token),
                [TopLogprob(token, logprob, _token_bytes(token)) for token, logprob in one.top],
            )
            for one in logprobs
        ]
    )


def _token_bytes(token: str) -> list[int] | None:
    return None if "\ufffd" in token else list(token.encode())
