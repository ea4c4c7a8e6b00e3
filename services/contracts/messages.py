"""What a caller asks for: one frozen `Task` that travels the bus unchanged.

Encoded as msgpack. A request kind is a tagged struct, so a worker decodes exactly what it was sent.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Blob(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bytes, inline when small, else the name of an object in the bus's Object Store.

    Exactly one of `data` and `ref` is set. `sha256` is the hex digest of the bytes.
    """

    sha256: str
    size_bytes: int
    data: bytes | None = None
    ref: str | None = None


class Image(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decoded-and-checked image. `mime` is what the bytes really are, not what the client said."""

    blob: Blob
    mime: str
    width_px: int
    height_px: int


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """A piece of text inside a message."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, tag="image", omit_defaults=True):
    """An image inside a message."""

    image: Image
    detail: Literal["auto", "low", "high"] = "auto"


Part = TextPart | ImagePart


class ToolCall(msgspec.Struct, frozen=True):
    """A call the model made. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation. `content` is plain text wherever the client sent only text."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | tuple[Part, ...] = ""
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text of this turn, its parts joined by newlines."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[Image, ...]:
        """The images of this turn, in order."""
        if isinstance(self.content, str):
            return ()
        return tuple(part.image for part in self.content if isinstance(part, ImagePart))


class ToolSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function the model may call. `parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool = False


class ResponseFormat(msgspec.Struct, frozen=True, omit_defaults=True):
    """The form the answer must have. `schema` is set for `json_schema` only."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    schema: dict[str, Any] | None = None
    name: str = "answer"
    strict: bool = False


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to choose tokens. None means "the component's default"."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    logit_bias: dict[int, float] = {}
    logprobs: bool = False
    top_logprobs: int = 0
    reasoning_effort: str | None = None


class ChatRequest(msgspec.Struct, frozen=True, tag="chat", omit_defaults=True):
    """A conversation to continue. `tool_choice` is auto, none, required, or the name of a tool.

    `written` is the beginning of the answer, which the client already has: go on behind it. Who wrote it has died.
    """

    messages: tuple[Message, ...]
    stream: bool = False
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    response_format: ResponseFormat = ResponseFormat()
    sampling: Sampling = Sampling()
    written: str = ""

    @property
    def images(self) -> tuple[Image, ...]:
        """Every image of the conversation, in order."""
        return tuple(image for message in self.messages for image in message.images)

    @property
    def question(self) -> str:
        """The text of the last user turn: what is being asked."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")


class EmbedRequest(msgspec.Struct, frozen=True, tag="embed", omit_defaults=True):
    """Texts to embed. `purpose` picks the model's prefix where it has one."""

    inputs: tuple[str, ...]
    purpose: Literal["query", "passage"] = "passage"


class ReadRequest(msgspec.Struct, frozen=True, tag="read", omit_defaults=True):
    """An image whose text is to be read."""

    image: Image


class SearchRequest(msgspec.Struct, frozen=True, tag="search", omit_defaults=True):
    """A question to the documents: the best `k` passages."""

    query: str
    k: int = 4


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document to ingest. `source` is its identity: ingesting it again replaces it."""

    source: str
    mime: str
    blob: Blob


class IngestRequest(msgspec.Struct, frozen=True, tag="ingest", omit_defaults=True):
    """Documents to add to the index."""

    documents: tuple[Document, ...]


Request = ChatRequest | EmbedRequest | ReadRequest | SearchRequest | IngestRequest


Priority = Literal["low", "normal", "high"]
PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high")
"""In rising order."""


class Wishes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the caller asks of the routing. None means "as the catalog says".

    Attributes:
        priority: who goes first where requests wait for a slot, before any deadline.
    """

    quality: float | None = None
    max_cost_usd: float | None = None
    privacy: Literal["local", "any"] = "any"
    strict: bool = False
    priority: Priority = "normal"


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """One piece of work on its way to whoever does it.

    Attributes:
        id: this task; `root` is the client's request it descends from (equal at the top).
        model: `auto` or a component's name.
        inbox: bus subject to which the worker sends its `Envelope`s.
        deadline_s: seconds since the epoch; past it nobody wants the answer.
        depth: how many components stand above this task; bounds recursion among agents.
        traceparent: W3C trace context (https://www.w3.org/TR/trace-context/), or empty.
    """

    id: str
    root: str
    model: str
    request: Request
    inbox: str
    deadline_s: float
    wishes: Wishes = Wishes()
    tenant: str = ""
    depth: int = 0
    traceparent: str = ""


class TaskHead(msgspec.Struct, frozen=True):
    """The fields of a `Task` needed to refuse it when its request cannot be decoded."""

    id: str
    root: str
    inbox: str = ""


_ENCODER = msgspec.msgpack.Encoder()
_TASK_DECODER = msgspec.msgpack.Decoder(Task)


def encode(message: msgspec.Struct) -> bytes:
    """Any contract struct as msgpack."""
    return _ENCODER.encode(message)


def decode_task(data: bytes) -> Task:
    """A task from the bus.

    Raises:
        msgspec.DecodeError: what arrived is not a task.
    """
    return _TASK_DECODER.decode(data)
