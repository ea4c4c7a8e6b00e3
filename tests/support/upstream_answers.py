"""What the upstream for tests says, in both vendors' words. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
AnswerText = str | Callable[[list[Json]], str]


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered. The default is a good answer.

    Attributes:
        status, headers, body: with a status other than 200, the whole answer (`body` is JSON, or bytes).
        text: in place of the server's `answer`.
        calls: tools to call, as (name, arguments).
        arguments_pieces: a streamed call's arguments come in so many pieces.
        usage: whether tokens are counted; `cached_tokens` are among the prompt's.
        reason: OpenAI's finish reason, in place of the one that follows from the answer.
        raw: bytes sent instead of any HTTP of ours; the connection is closed after them.
        replace_body: a 200 with this body instead of the answer, under `content_type`.
        cut_before: the connection is cut when the request has been read.
        stall_before: nothing is sent until `release()`.
        stall_after, cut_after: the stream stops, or the connection is cut, after so many of its events.
        done: whether a stream ends with its terminal marker.
        error_event: sent in the stream after `stall_after`/`cut_after`/all events, in place of the end.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Json | bytes | None = None
    text: AnswerText | None = None
    calls: tuple[tuple[str, Json], ...] = ()
    arguments_pieces: int = 3
    usage: bool = True
    cached_tokens: int = 0
    reason: str | None = None
    refusal: str | None = None
    raw: bytes | None = None
    replace_body: bytes | None = None
    content_type: str | None = None
    cut_before: bool = False
    stall_before: bool = False
    stall_after: int | None = None
    cut_after: int | None = None
    done: bool = True
    error_event: Json | None = None


GOOD = Behaviour()


def text_of(message: Json) -> str:
    """The text of a message in either vendor's form."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def last_question(messages: list[Json]) -> str:
    """The text of the last user turn: an `answer` that echoes the prompt."""
    return next((text_of(m) for m in reversed(messages) if m["role"] == "user"), "")


def pieces_of(text: str) -> list[str]:
    """Words with the space behind them: this server's tokens."""
    return re.findall(r"\s*\S+\s*", text) or [""]


def prompt_tokens(body: Json) -> int:
    """This server's count of a prompt."""
    return sum(len(pieces_of(text_of(message))) for message in body["messages"])


def _split(text: str, count: int) -> list[str]:
    size = max(1, -(-len(text) // max(1, count)))
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def sse(data: Json | str, name: str = "") -> bytes:
    """One server-sent event."""
    shown = data if isinstance(data, str) else json.dumps(data)
    return f"{f'event: {name}' + chr(10) if name else ''}data: {shown}\n\n".encode()


@dataclass(frozen=True)
class Answer:
    """What is said, before it is put in a vendor's words."""

    request: Json
    behaviour: Behaviour
    text: str

    @property
    def limited(self) -> tuple[list[str], bool]:
        """The text's pieces within `max_tokens`, and whether some were left out."""
        pieces = pieces_of(self.text)
        limit = self.request.get("max_tokens") or self.request.get("max_completion_tokens") or len(pieces)
        return pieces[:limit], len(pieces) > limit


class OpenAiAnswer(Answer):
    """In OpenAI's words."""

    def plain(self) -> Json:
        """The body of a plain answer."""
        pieces, cut = self.limited
        message: Json = {"role": "assistant", "content": "".join(pieces)}
        if self.behaviour.refusal is not None:
            message |= {"content": None, "refusal": self.behaviour.refusal}
        if self.behaviour.calls:
            message |= {"content": None, "tool_calls": [self._call(i) for i in range(len(self.behaviour.calls))]}
        choice: Json = {"index": 0, "message": message, "finish_reason": self._reason(cut=cut)}
        if self.request.get("logprobs"):
            choice["logprobs"] = {"content": [self._logprob(piece) for piece in pieces]}
        answer: Json = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": self.request["model"]}
        answer["choices"] = [choice]
        if self.behaviour.usage:
            answer["usage"] = self._usage(len(pieces))
        return answer

    def stream(self) -> list[bytes]:
        """The events of a stream, terminal marker included."""
        pieces, cut = self.limited
        events = [self._chunk({"role": "assistant", "content": ""})]
        if self.behaviour.calls:
            for index in range(len(self.behaviour.calls)):
                whole = self._call(index)
                arguments = whole["function"]["arguments"]
                first = {**whole, "index": index, "function": {**whole["function"], "arguments": ""}}
                events.append(self._chunk({"tool_calls": [first]}))
                events += [
                    self._chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
                    for part in _split(arguments, self.behaviour.arguments_pieces)
                ]
        elif self.behaviour.refusal is not None:
            events.append(self._chunk({"refusal": self.behaviour.refusal}))
        else:
            for piece in pieces:
                logprobs = {"content": [self._logprob(piece)]} if self.request.get("logprobs") else None
                events.append(self._chunk({"content": piece}, logprobs=logprobs))
        if self.behaviour.error_event is not None:
            return [*events, sse(self.behaviour.error_event)]
        if self.behaviour.done or self.behaviour.reason:
            events.append(self._chunk({}, reason=self._reason(cut=cut)))
        asked = (self.request.get("stream_options") or {}).get("include_usage")
        if self.behaviour.usage and asked:
            events.append(sse({**self._base(), "choices": [], "usage": self._usage(len(pieces))}))
        if self.behaviour.done:
            events.append(sse("[DONE]"))
        return events

    def _base(self) -> Json:
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.request["model"]}

    def _chunk(self, delta: Json, reason: str | None = None, logprobs: Json | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": logprobs}
        return sse({**self._base(), "choices": [choice], "usage": None})

    def _call(self, index: int) -> Json:
        name, arguments = self.behaviour.calls[index]
        return {
            "id": f"call_{index}x",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }

    def _reason(self, *, cut: bool) -> str:
        if self.behaviour.reason is not None:
            return self.behaviour.reason
        return "tool_calls" if self.behaviour.calls else "length" if cut else "stop"

    def _logprob(self, piece: str) -> Json:
        top = [{"token": piece, "logprob": -0.1, "bytes": None}, {"token": "other", "logprob": -2.5, "bytes": None}]
        return {
            "token": piece,
            "logprob": -0.1,
            "bytes": None,
            "top_logprobs": top[: self.request.get("top_logprobs", 0)],
        }

    def _usage(self, output: int) -> Json:
        given = prompt_tokens(self.request)
        details = {"cached_tokens": self.behaviour.cached_tokens}
        total = given + output
        return {
            "prompt_tokens": given,
            "completion_tokens": output,
            "total_tokens": total,
            "prompt_tokens_details": details,
        }


class AnthropicAnswer(Answer):
    """In Anthropic's words. A tool that must be called is called with the text, read as JSON."""

    def _blocks(self) -> tuple[list[Json], str]:
        pieces, cut = self.limited
        choice = self.request.get("tool_choice") or {}
        tools = [tool["name"] for tool in self.request.get("tools") or ()]
        if self.behaviour.calls:
            calls = self.behaviour.calls
        elif choice.get("type") == "tool":
            calls = ((choice["name"], json.loads(self.text)),)
        elif choice.get("type") == "any":
            calls = ((tools[-1], json.loads(self.text)),)
        else:
            return [{"type": "text", "text": "".join(pieces)}], self.behaviour.reason or (
                "max_tokens" if cut else "end_turn"
            )
        blocks = [
            {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": arguments}
            for index, (name, arguments) in enumerate(calls)
        ]
        return blocks, self.behaviour.reason or "tool_use"

    def _usage(self) -> tuple[Json, Json]:
        cached = self.behaviour.cached_tokens
        first = {
            "input_tokens": max(0, prompt_tokens(self.request) - cached),
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        }
        return first, {"output_tokens": len(self.limited[0])}

    def plain(self) -> Json:
        """The body of a plain answer."""
        blocks, reason = self._blocks()
        first, last = self._usage()
        answer: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": self.request["model"]}
        answer |= {"content": blocks, "stop_reason": reason, "stop_sequence": None}
        if self.behaviour.usage:
            answer["usage"] = first | last
        return answer

    def stream(self) -> list[bytes]:
        """The events of a stream, terminal event included."""
        blocks, reason = self._blocks()
        first, last = self._usage()
        start: Json = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "stop_reason": None}
        if self.behaviour.usage:
            start["usage"] = first
        said: list[Json] = [{"type": "message_start", "message": start}, {"type": "ping"}]
        for index, block in enumerate(blocks):
            deltas: list[Json]
            empty: Json
            if block["type"] == "text":
                empty = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in pieces_of(block["text"])]
            else:
                empty = {**block, "input": {}}
                parts = _split(json.dumps(block["input"]), self.behaviour.arguments_pieces)
                deltas = [{"type": "input_json_delta", "partial_json": part} for part in ["", *parts]]
            said.append({"type": "content_block_start", "index": index, "content_block": empty})
            said += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            said.append({"type": "content_block_stop", "index": index})
        if self.behaviour.error_event is not None:
            said.append({"type": "error", **self.behaviour.error_event})
        else:
            end: Json = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
            if self.behaviour.usage:
                end["usage"] = last
            said.append(end)
            if self.behaviour.done:
                said.append({"type": "message_stop"})
        return [sse(event, event["type"]) for event in said]
