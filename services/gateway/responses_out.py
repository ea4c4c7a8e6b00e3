"""OpenAI's response object and what it is made of.

Source: https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from services.contracts.errors import InvalidRequest, Overloaded, TurnoutError
from services.contracts.events import TokenLogprob, Usage
from services.contracts.messages import ChatRequest
from services.gateway.answers import TurnoutOut
from services.gateway.responses_schema import ResponsesBody

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class RivalOut(msgspec.Struct, frozen=True):
    """A rival of a token. `bytes` is empty where the token is not whole UTF-8."""

    token: str
    logprob: float
    bytes: list[int]


class LogprobOut(msgspec.Struct, frozen=True):
    """A token of the answer and how probable it was."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[RivalOut]


class OutputText(msgspec.Struct, frozen=True, tag_field="type", tag="output_text"):
    """A piece of text."""

    text: str
    annotations: list[Any] = []
    logprobs: Sequence[LogprobOut] = ()


class OutputRefusal(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """Why the model will not answer."""

    refusal: str


OutputPart = OutputText | OutputRefusal


class OutputMessage(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """What the assistant says."""

    id: str
    status: ItemStatus
    content: list[OutputPart]
    role: Literal["assistant"] = "assistant"


class OutputCall(msgspec.Struct, frozen=True, tag_field="type", tag="function_call"):
    """A function that the client is to call."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


OutputItem = OutputMessage | OutputCall


class InputDetails(msgspec.Struct, frozen=True):
    """`input_tokens_details`."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True):
    """`output_tokens_details`. Tokens of reasoning are not told apart."""

    reasoning_tokens: int = 0


class ResponseUsageOut(msgspec.Struct, frozen=True):
    """`usage`."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class IncompleteOut(msgspec.Struct, frozen=True):
    """Why the answer is not whole."""

    reason: Literal["max_output_tokens", "content_filter"]


class FailureOut(msgspec.Struct, frozen=True):
    """Why there is no answer, in one of OpenAI's words for it."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class ToolOut(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A function that could be called."""

    name: str
    description: str | None
    parameters: dict[str, Any]
    strict: bool


class ChosenOut(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """The function that had to be called."""

    name: str


class FormatOut(msgspec.Struct, frozen=True):
    """The form that was asked for."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | UnsetType = UNSET
    schema: dict[str, Any] | UnsetType = UNSET
    strict: bool | UnsetType = UNSET


class TextOut(msgspec.Struct, frozen=True):
    """`text`."""

    format: FormatOut
    verbosity: Literal["medium"] = "medium"


class ReasoningOut(msgspec.Struct, frozen=True):
    """`reasoning`."""

    effort: str | None
    summary: None = None


class ResponseOut(msgspec.Struct, frozen=True):
    """A response, and what was asked for."""

    id: str
    created_at: int
    model: str
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    reasoning: ReasoningOut
    temperature: float | None
    text: TextOut
    tool_choice: str | ChosenOut
    tools: list[ToolOut]
    top_logprobs: int
    top_p: float | None
    status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"
    output: list[OutputItem] = []
    usage: ResponseUsageOut | None = None
    turnout: TurnoutOut | UnsetType = UNSET
    error: FailureOut | None = None
    incomplete_details: IncompleteOut | None = None
    completed_at: int | None = None
    background: Literal[False] = False
    previous_response_id: None = None
    store: Literal[False] = False
    truncation: Literal["disabled"] = "disabled"
    object: Literal["response"] = "response"


def opened(id_: str, created_s: int, component: str, body: ResponsesBody, request: ChatRequest) -> ResponseOut:
    """The response before anything of it is there."""
    form, choice = request.response_format, request.tool_choice
    return ResponseOut(
        id=f"resp_{id_}",
        created_at=created_s,
        model=component,
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        metadata=body.metadata or {},
        parallel_tool_calls=request.parallel_tool_calls,
        reasoning=ReasoningOut(request.sampling.reasoning_effort),
        temperature=body.temperature,
        text=TextOut(
            FormatOut(form.type) if form.schema is None else FormatOut(form.type, form.name, form.schema, form.strict)
        ),
        tool_choice=ChosenOut(choice) if any(tool.name == choice for tool in request.tools) else choice,
        tools=[ToolOut(tool.name, tool.description or None, tool.parameters, tool.strict) for tool in request.tools],
        top_logprobs=request.sampling.top_logprobs,
        top_p=body.top_p,
    )


def usage_of(usage: Usage) -> ResponseUsageOut:
    """The tokens in the words of this interface."""
    return ResponseUsageOut(
        usage.input_tokens,
        InputDetails(usage.cached_tokens),
        usage.output_tokens,
        OutputDetails(),
        usage.input_tokens + usage.output_tokens,
    )


def failure_of(error: TurnoutError) -> FailureOut:
    """The error as part of a response."""
    if isinstance(error, Overloaded):
        return FailureOut("rate_limit_exceeded", error.message)
    return FailureOut("invalid_prompt" if isinstance(error, InvalidRequest) else "server_error", error.message)


def logprobs_of(logprobs: Sequence[TokenLogprob]) -> list[LogprobOut]:
    """How probable the tokens of a piece were."""
    return [
        LogprobOut(one.token, one.logprob, _bytes(one.token), [RivalOut(t, p, _bytes(t)) for t, p in one.top])
        for one in logprobs
    ]


def _bytes(token: str) -> list[int]:
    return [] if "\ufffd" in token else list(token.encode())
