"""The events of a streamed response.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.gateway.exchange import ErrorOut
from services.gateway.responses_out import LogprobOut, OutputItem, OutputPart, ResponseOut


class StreamEvent(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of them all. `sequence_number` counts from 0."""

    sequence_number: int


class Created(StreamEvent, frozen=True, tag="response.created"):
    """The answer begins."""

    response: ResponseOut


class InProgress(StreamEvent, frozen=True, tag="response.in_progress"):
    """The answer is being written."""

    response: ResponseOut


class Completed(StreamEvent, frozen=True, tag="response.completed"):
    """The end of a whole answer."""

    response: ResponseOut


class Incomplete(StreamEvent, frozen=True, tag="response.incomplete"):
    """The end of an answer that was cut short."""

    response: ResponseOut


class BrokenOff(StreamEvent, frozen=True, tag="response.failed"):
    """The answer broke off; `error` follows."""

    response: ResponseOut


class Told(StreamEvent, frozen=True, tag="error"):
    """Why the answer broke off.

    `error` says it once more, as the body of an error does: where it stands OpenAI's clients raise an exception. Of
    the documented fields alone they make an event like any other, and half an answer would pass for a whole one.
    """

    code: str
    message: str
    param: str | None
    error: ErrorOut


class ItemAdded(StreamEvent, frozen=True, tag="response.output_item.added"):
    """An item begins."""

    output_index: int
    item: OutputItem


class ItemDone(StreamEvent, frozen=True, tag="response.output_item.done"):
    """An item, whole."""

    output_index: int
    item: OutputItem


class _OfItem(StreamEvent, frozen=True):
    item_id: str
    output_index: int


class _OfPart(_OfItem, frozen=True):
    content_index: int


class PartAdded(_OfPart, frozen=True, tag="response.content_part.added"):
    """A part of a message begins."""

    part: OutputPart


class PartDone(_OfPart, frozen=True, tag="response.content_part.done"):
    """A part of a message, whole."""

    part: OutputPart


class TextAdded(_OfPart, frozen=True, tag="response.output_text.delta"):
    """A piece of text."""

    delta: str
    logprobs: Sequence[LogprobOut]


class TextDone(_OfPart, frozen=True, tag="response.output_text.done"):
    """The text of a part, whole."""

    text: str
    logprobs: Sequence[LogprobOut]


class RefusalAdded(_OfPart, frozen=True, tag="response.refusal.delta"):
    """A piece of a refusal."""

    delta: str


class RefusalDone(_OfPart, frozen=True, tag="response.refusal.done"):
    """A refusal, whole."""

    refusal: str


class ArgumentsAdded(_OfItem, frozen=True, tag="response.function_call_arguments.delta"):
    """A piece of the arguments of a call."""

    delta: str


class ArgumentsDone(_OfItem, frozen=True, tag="response.function_call_arguments.done"):
    """The arguments of a call, whole."""

    name: str
    arguments: str


EVENTS: tuple[type[StreamEvent], ...] = (
    Created,
    InProgress,
    ItemAdded,
    PartAdded,
    TextAdded,
    TextDone,
    RefusalAdded,
    RefusalDone,
    PartDone,
    ArgumentsAdded,
    ArgumentsDone,
    ItemDone,
    Completed,
    Incomplete,
    BrokenOff,
    Told,
)
