"""What the two vendor protocols have in common: a request out of a `ChatRequest`, events out of what comes back.

Everything here and in the protocol modules is pure: bytes and structs in, bytes and structs out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from services.contracts.errors import UpstreamError
from services.contracts.events import Delta, Finished, FinishReason, Usage
from services.contracts.messages import ChatRequest, Image
from services.llm_cloud.sse import SseEvent

CHARS_PER_TOKEN = 4
IMAGE_TOKENS = 800
MAX_TOKENS = 1_000_000_000  # a count above this is nonsense, and would not fit the bus's integers
MAX_TOOL_CALLS = 128

Images = Mapping[str, bytes]
"""The bytes of each image of a request, by sha256."""


class StreamReader(Protocol):
    """Reads one streamed answer."""

    def take(self, event: SseEvent) -> Delta | None:
        """What an event adds to the answer.

        Raises:
            TurnoutError: it is not the protocol, or says that the vendor failed.
        """
        ...

    @property
    def ended(self) -> bool:
        """Whether the terminal marker has come."""
        ...

    def finish(self) -> Finished:
        """The end, once no more bytes will come.

        Raises:
            UpstreamError: the answer was cut off.
        """
        ...


class Dialect(Protocol):
    """One vendor protocol, for one model."""

    path: str
    """Appended to the base URL."""

    params: tuple[str, ...]
    """Names of `Sampling` that are honoured."""

    def headers(self, key: str | None) -> list[tuple[str, str]]:
        """Headers of a request, without those every JSON request has."""
        ...

    def body(self, request: ChatRequest, images: Images, without: frozenset[str]) -> bytes:
        """The request's JSON; parameters in `without` have been refused by this model before.

        Raises:
            InvalidRequest, Unsupported: it cannot be said in this protocol.
        """
        ...

    def answer(self, body: bytes, request: ChatRequest) -> tuple[Delta, Finished]:
        """A whole plain answer. Raises as `StreamReader.take` does."""
        ...

    def reader(self, request: ChatRequest) -> StreamReader:
        """Reads the stream that answers `request`."""
        ...


_T = TypeVar("_T")


def decode(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    """JSON as the struct it should be.

    Raises:
        UpstreamError: it is not.
    """
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError("the upstream's answer is not the protocol it should speak") from error


def count(value: float | None) -> int:
    """A token count as a sane number: vendors have sent null, floats and worse."""
    if value is None or not math.isfinite(value):
        return 0
    return min(max(0, int(value)), MAX_TOKENS)


def estimate_input_tokens(request: ChatRequest) -> int:
    """Roughly, the prompt's tokens: characters by four, and a flat rate for images."""
    chars = sum(len(message.text) for message in request.messages)
    chars += sum(len(tool.name) + len(tool.description) + 80 for tool in request.tools)
    return math.ceil(chars / CHARS_PER_TOKEN) + IMAGE_TOKENS * len(request.images)


def estimate_output_tokens(chars: int) -> int:
    """Roughly, the tokens of an answer of that many characters."""
    return math.ceil(chars / CHARS_PER_TOKEN)


def chars_of(delta: Delta) -> int:
    """Characters the model wrote for this delta."""
    size = len(delta.text) + len(delta.refusal)
    for call in delta.tool_calls:
        size += len(call.arguments) + len(call.name or "")
    return size


def finished(request: ChatRequest, usage: Usage | None, output_chars: int, reason: FinishReason) -> Finished:
    """The end of an answer; without the vendor's count, with an estimate that says so."""
    if usage is not None:
        return Finished(usage, reason)
    estimate = Usage(estimate_input_tokens(request), estimate_output_tokens(output_chars))
    return Finished(estimate, reason, detail={"usage_estimated": True})


def bytes_of(image: Image, images: Images) -> bytes:
    """The bytes of an image, wherever they were."""
    data = image.blob.data
    return images[image.blob.sha256] if data is None else data


def tool_call_index(index: int) -> int:
    """`index` if it is one a real answer could have.

    Raises:
        UpstreamError: it is not.
    """
    if not 0 <= index < MAX_TOOL_CALLS:
        raise UpstreamError("the upstream numbered a tool call out of range")
    return index


def json_object(text: str) -> dict[str, Any] | None:
    """The object that a JSON text holds, or None if it holds none."""
    try:
        value = msgspec.json.decode(text.encode() if text.strip() else b"{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
