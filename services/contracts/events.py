"""What a worker answers: envelopes of events, sent straight to the inbox of whoever asked.

A stream is `Started`, then any number of `Delta`, then `Finished` or `Failed`. Work that is not chat has its one
result (`Embedded`, `ScreenRead`, `Found`, `Ingested`) in place of the deltas. Envelopes are numbered, so that a
message lost on the way is an error and never a silently shortened answer.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from services.contracts.errors import ErrorInfo

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens and money of one piece of work, everything beneath it included. USD."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cost_usd + other.cost_usd,
        )


class TokenLogprob(msgspec.Struct, frozen=True, omit_defaults=True):
    """One token with its natural-log probability and its most likely rivals."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class ToolCallDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of a tool call, as in OpenAI's streams: id and name come once, arguments in pieces."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Passage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A retrieved piece of a document.

    Attributes:
        score: of the ranking; comparable within one answer only.
        similarity: cosine of query and passage, -1..1.
        relevance: calibrated probability that the passage bears on the query, 0..1.
        page: counted from 1, for formats that have pages.
    """

    text: str
    source: str
    score: float
    similarity: float = 0.0
    relevance: float = 0.0
    title: str = ""
    page: int | None = None


class ScreenLine(msgspec.Struct, frozen=True):
    """A line of text on an image. Pixels, origin top left; `confidence` 0..1."""

    text: str
    x: int
    y: int
    w: int
    h: int
    confidence: float


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something a component did on the way to its answer: a tool call, an image read, a search."""

    name: str
    input: str
    output: str
    duration_ms: float
    component: str = ""
    error: str | None = None


class Started(msgspec.Struct, frozen=True, tag="started"):
    """Who answers."""

    component: str
    instance: str
    model: str


class Delta(msgspec.Struct, frozen=True, tag="delta", omit_defaults=True):
    """The next piece of a chat answer."""

    text: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    refusal: str = ""


class Embedded(msgspec.Struct, frozen=True, tag="embedded"):
    """One vector per input: `dimensions` little-endian float32 each."""

    vectors: tuple[bytes, ...]
    dimensions: int


class ScreenRead(msgspec.Struct, frozen=True, tag="screen"):
    """The lines of an image in reading order."""

    lines: tuple[ScreenLine, ...]
    width_px: int
    height_px: int


class Found(msgspec.Struct, frozen=True, tag="found"):
    """Passages, best first."""

    passages: tuple[Passage, ...]


class Ingested(msgspec.Struct, frozen=True, tag="ingested", omit_defaults=True):
    """What became of each document: (source, number of passages), and (source, reason) for those refused."""

    documents: tuple[tuple[str, int], ...]
    refused: tuple[tuple[str, str], ...] = ()


class Finished(msgspec.Struct, frozen=True, tag="finished", omit_defaults=True):
    """The end of a good answer, with what it took."""

    usage: Usage
    reason: FinishReason = "stop"
    steps: tuple[Step, ...] = ()
    sources: tuple[Passage, ...] = ()
    detail: dict[str, Any] = {}


class Failed(msgspec.Struct, frozen=True, tag="failed", omit_defaults=True):
    """The end of an answer that cannot go on. `usage` counts what was spent all the same."""

    error: ErrorInfo
    usage: Usage = Usage()


Event = Started | Delta | Embedded | ScreenRead | Found | Ingested | Finished | Failed


ALIVE = -1


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """Events of one task. `seq` counts envelopes from 0 without gaps; `ALIVE`, without events, says that it goes on."""

    task: str
    seq: int
    events: tuple[Event, ...]


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """A worker's word to the router: `error` is None once the first event is on its way to the inbox.

    With an error nothing has been sent to the inbox, so the router is free to try elsewhere.
    """

    error: ErrorInfo | None = None
    usage: Usage = Usage()


ENVELOPE_DECODER = msgspec.msgpack.Decoder(Envelope)
ACK_DECODER = msgspec.msgpack.Decoder(Ack)
