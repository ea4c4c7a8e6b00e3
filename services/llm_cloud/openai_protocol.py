"""OpenAI's chat completions, as spoken by its vendor and by most other servers: answers and streams into our events.

The structs name only what we use, and are lenient where servers that call themselves compatible differ.
Source: https://platform.openai.com/docs/api-reference/chat/object, .../chat/streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from services.contracts.errors import UpstreamError
from services.contracts.events import Delta, Finished, FinishReason, TokenLogprob, ToolCallDelta, Usage
from services.contracts.messages import ChatRequest
from services.llm_cloud.dialect import (
    Images,
    chars_of,
    count,
    decode,
    finished,
    tool_call_index,
)
from services.llm_cloud.openai_request import openai_body
from services.llm_cloud.refusal import told_error
from services.llm_cloud.sse import SseEvent

VENDOR_URL = "https://api.openai.com/v1"
_DONE = b"[DONE]"
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None
    id: str | None = None
    index: int | None = None


class _Top(msgspec.Struct):
    token: str
    logprob: float


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Top] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Message(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    index: int | None = 0
    logprobs: _Logprobs | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: float | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_COMPLETION = msgspec.json.Decoder(_Completion)


class OpenAi:
    """See `dialect.Dialect`.

    Args:
        model: the vendor's name of the model.
        vendor: whether the server is OpenAI's own, whose newer models know only `max_completion_tokens`.
        logprobs: whether the model gives them.
    """

    path = "/chat/completions"

    def __init__(self, model: str, *, vendor: bool, logprobs: bool) -> None:
        self._model = model
        self._vendor = vendor
        common = ("temperature", "top_p", "max_tokens", "seed", "stop")
        self.params: tuple[str, ...] = (
            *common,
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "reasoning_effort",
        )
        if logprobs:
            self.params = (*self.params, "logprobs", "top_logprobs")

    def headers(self, key: str | None) -> list[tuple[str, str]]:
        """See `Dialect.headers`."""
        return [] if key is None else [("authorization", f"Bearer {key}")]

    def body(self, request: ChatRequest, images: Images, without: frozenset[str]) -> bytes:
        """See `Dialect.body`. A refused `max_tokens` means that the limit has its other name."""
        swapped = "max_tokens" in without or "max_completion_tokens" in without
        return openai_body(self._model, request, images, without=without, completion_tokens=self._vendor is not swapped)

    def answer(self, body: bytes, request: ChatRequest) -> tuple[Delta, Finished]:
        """See `Dialect.answer`."""
        completion = decode(_COMPLETION, body)
        if completion.error is not None:
            raise told_error(completion.error)
        choice = next(iter(completion.choices or ()), None)
        if choice is None or choice.message is None:
            raise UpstreamError("the upstream's answer has no choices")
        calls = tuple(_call(index, call, whole=True) for index, call in enumerate(choice.message.tool_calls or ()))
        delta = Delta(_text(choice.message.content), calls, _logprobs(choice), choice.message.refusal or "")
        reason = _reason(choice.finish_reason, calls=bool(calls))
        return (delta, finished(request, _usage(completion.usage), chars_of(delta), reason))

    def reader(self, request: ChatRequest) -> OpenAiReader:
        """See `Dialect.reader`."""
        return OpenAiReader(request)


class OpenAiReader:
    """See `dialect.StreamReader`."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._usage: Usage | None = None
        self._reason: str | None = None
        self._chars = 0
        self._ids: list[str | None] = []
        self.ended = False

    def take(self, event: SseEvent) -> Delta | None:
        """See `StreamReader.take`."""
        if event.data == _DONE:
            self.ended = True
            return None
        chunk = decode(_COMPLETION, event.data)
        if chunk.error is not None:
            raise told_error(chunk.error)
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        choice = next((choice for choice in chunk.choices or () if not choice.index), None)
        if choice is None:
            return None
        if choice.finish_reason is not None:
            self._reason = choice.finish_reason
        said = choice.delta
        if said is None:
            return None
        calls = tuple(self._placed(call) for call in said.tool_calls) if said.tool_calls else ()
        delta = Delta(_text(said.content), calls, _logprobs(choice), said.refusal or "")
        chars = chars_of(delta)
        self._chars += chars
        return delta if chars or calls or delta.logprobs else None

    def finish(self) -> Finished:
        """See `StreamReader.finish`. Servers without `[DONE]` exist; a finish reason ends their answers as well."""
        if not self.ended and self._reason is None:
            raise UpstreamError("the upstream's stream ended before its answer was complete")
        reason = _reason(self._reason, calls=bool(self._ids))
        return finished(self._request, self._usage, self._chars, reason)

    def _placed(self, call: _Call) -> ToolCallDelta:
        """A piece of a tool call with its index, which some servers leave out."""
        if call.index is not None:
            index = tool_call_index(call.index)
        elif call.id is not None and call.id not in self._ids:
            index = tool_call_index(len(self._ids))
        else:
            index = self._ids.index(call.id) if call.id in self._ids else max(0, len(self._ids) - 1)
        new = index >= len(self._ids)
        if new:
            self._ids.extend([None] * (index + 1 - len(self._ids)))
        if call.id:
            self._ids[index] = call.id
        piece = _call(index, call, whole=False)
        # Some servers repeat id and name with every piece; ours come once.
        return piece if new else ToolCallDelta(index, arguments=piece.arguments)


def _call(index: int, call: _Call, *, whole: bool) -> ToolCallDelta:
    function = call.function or _Function()
    arguments = function.arguments
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    name = function.name
    if whole and not name:
        raise UpstreamError("the upstream called a tool without naming it")
    fallback_id = f"call_{index}" if whole or name else None
    return ToolCallDelta(tool_call_index(index), call.id or fallback_id, name, arguments or "")


def _text(content: str | list[Any] | None) -> str:
    """The text of a content field: some servers send a list of parts, of which thinking is not for the user."""
    if isinstance(content, str):
        return content
    parts = (part for part in content or () if isinstance(part, dict) and part.get("type") == "text")
    return "".join(text for part in parts if isinstance(text := part.get("text"), str))


def _logprobs(choice: _Choice) -> tuple[TokenLogprob, ...]:
    found = choice.logprobs.content if choice.logprobs is not None else None
    if not found:
        return ()
    return tuple(
        TokenLogprob(one.token, one.logprob, tuple((top.token, top.logprob) for top in one.top_logprobs or ()))
        for one in found
    )


def _reason(told: str | None, *, calls: bool) -> FinishReason:
    reason = _REASONS.get(told or "stop", "stop")
    return "tool_calls" if calls and reason == "stop" else reason


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None or usage.prompt_tokens is None:
        return None
    details = usage.prompt_tokens_details
    given = count(usage.prompt_tokens)
    cached = min(given, count(details.cached_tokens)) if details is not None else 0
    return Usage(given, count(usage.completion_tokens), cached)
