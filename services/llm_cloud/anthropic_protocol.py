"""Anthropic's messages: answers and streams into our events.

Source: https://docs.anthropic.com/en/api/messages, https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from services.contracts.errors import UpstreamError
from services.contracts.events import Delta, Finished, FinishReason, ToolCallDelta, Usage
from services.contracts.messages import ChatRequest
from services.llm_cloud.anthropic_request import ANSWER_TOOL, answers_by_tool, anthropic_body
from services.llm_cloud.dialect import Images, chars_of, count, decode, finished, tool_call_index
from services.llm_cloud.refusal import told_error
from services.llm_cloud.sse import SseEvent

VENDOR_URL = "https://api.anthropic.com/v1"
VERSION = "2023-06-01"
_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Usage(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None
    cache_read_input_tokens: float | None = None
    cache_creation_input_tokens: float | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    type: str = ""
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: Any = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Answer | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)


class Anthropic:
    """See `dialect.Dialect`.

    Args:
        model: the vendor's name of the model.
        max_tokens: limit of an answer whose request names none.
    """

    path = "/messages"
    params: tuple[str, ...] = ("temperature", "top_p", "top_k", "max_tokens", "stop")

    def __init__(self, model: str, max_tokens: int) -> None:
        self._model = model
        self._max_tokens = max_tokens

    def headers(self, key: str | None) -> list[tuple[str, str]]:
        """See `Dialect.headers`."""
        version = ("anthropic-version", VERSION)
        return [version] if key is None else [version, ("x-api-key", key)]

    def body(self, request: ChatRequest, images: Images, without: frozenset[str]) -> bytes:
        """See `Dialect.body`."""
        return anthropic_body(self._model, self._max_tokens, request, images, without=without)

    def answer(self, body: bytes, request: ChatRequest) -> tuple[Delta, Finished]:
        """See `Dialect.answer`."""
        answer = decode(_ANSWER, body)
        if answer.error is not None:
            raise told_error(answer.error)
        if answer.content is None:
            raise UpstreamError("the upstream's answer has no content")
        by_tool = answers_by_tool(request)
        texts: list[str] = []
        calls: list[ToolCallDelta] = []
        for block in answer.content:
            if block.type == "text" and not by_tool:
                texts.append(block.text or "")
            elif block.type == "tool_use":
                arguments = msgspec.json.encode(block.input or {}).decode()
                if by_tool and block.name == ANSWER_TOOL:
                    texts.append(arguments)
                else:
                    calls.append(_call(len(calls), block, arguments))
        delta = Delta("".join(texts), tuple(calls))
        reason = _reason(answer.stop_reason, calls=bool(calls))
        return (delta, finished(request, _usage(answer.usage, None), chars_of(delta), reason))

    def reader(self, request: ChatRequest) -> AnthropicReader:
        """See `Dialect.reader`."""
        return AnthropicReader(request)


class AnthropicReader:
    """See `dialect.StreamReader`."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._by_tool = answers_by_tool(request)
        self._first: _Usage | None = None
        self._last: _Usage | None = None
        self._reason: str | None = None
        self._chars = 0
        self._calls: dict[int, int] = {}  # index of the block -> index among the calls
        self._answer_block: int | None = None
        self.ended = False

    def take(self, event: SseEvent) -> Delta | None:
        """See `StreamReader.take`. The type stands in the data as well; the SSE name is not needed."""
        told = decode(_EVENT, event.data)
        delta: Delta | None = None
        if told.type == "content_block_delta" and told.delta is not None:
            delta = self._piece(told.index, told.delta)
        elif told.type == "content_block_start" and told.content_block is not None:
            delta = self._block(told.index, told.content_block)
        elif told.type == "message_start" and told.message is not None:
            self._first = told.message.usage
        elif told.type == "message_delta":
            self._last = told.usage or self._last
            if told.delta is not None:
                self._reason = told.delta.stop_reason or self._reason
        elif told.type == "message_stop":
            self.ended = True
        elif told.type == "error":
            raise told_error(told.error)
        if delta is not None:
            self._chars += chars_of(delta)
        return delta

    def finish(self) -> Finished:
        """See `StreamReader.finish`."""
        if not self.ended:
            raise UpstreamError("the upstream's stream ended before its answer was complete")
        reason = _reason(self._reason, calls=bool(self._calls))
        return finished(self._request, _usage(self._first, self._last), self._chars, reason)

    def _block(self, index: int, block: _Block) -> Delta | None:
        if block.type == "text" and block.text and not self._by_tool:
            return Delta(block.text)
        if block.type != "tool_use":
            return None
        if self._by_tool and block.name == ANSWER_TOOL:
            self._answer_block = index
            return None
        self._calls[index] = number = tool_call_index(len(self._calls))
        return Delta(tool_calls=(_call(number, block, ""),))

    def _piece(self, index: int, piece: _Delta) -> Delta | None:
        if piece.type == "text_delta" and piece.text and not self._by_tool:
            return Delta(piece.text)
        if piece.type != "input_json_delta" or not piece.partial_json:
            return None
        if index == self._answer_block:
            return Delta(piece.partial_json)
        number = self._calls.get(index)
        if number is None:
            raise UpstreamError("the upstream sent arguments of a tool call it never began")
        return Delta(tool_calls=(ToolCallDelta(number, arguments=piece.partial_json),))


def _call(number: int, block: _Block, arguments: str) -> ToolCallDelta:
    if not block.id or not block.name:
        raise UpstreamError("the upstream called a tool without naming it")
    return ToolCallDelta(tool_call_index(number), block.id, block.name, arguments)


def _reason(told: str | None, *, calls: bool) -> FinishReason:
    reason = _REASONS.get(told or "end_turn", "stop")
    # A call of the answering tool is how a plain answer ended.
    return "stop" if reason == "tool_calls" and not calls else reason


def _usage(first: _Usage | None, last: _Usage | None) -> Usage | None:
    """Our count out of the first and the last report of a stream: the last is cumulative where it speaks."""
    if first is None and last is None:
        return None
    first, last = first or _Usage(), last or _Usage()
    cached = count(_latest(last.cache_read_input_tokens, first.cache_read_input_tokens))
    written = count(_latest(last.cache_creation_input_tokens, first.cache_creation_input_tokens))
    fresh = count(_latest(last.input_tokens, first.input_tokens))
    # Theirs count cached tokens beside the input, ours among it.
    return Usage(fresh + cached + written, count(_latest(last.output_tokens, first.output_tokens)), cached)


def _latest(last: float | None, first: float | None) -> float | None:
    return first if last is None else last
