"""The body of `POST /v1/responses`, as pydantic models: the part of it that needs nothing kept between requests.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from services.gateway.schema import MAX_TOOLS, Id, Section, ToolName, WishesIn

_MetadataKey = Annotated[str, StringConstraints(max_length=64)]
_MetadataValue = Annotated[str, StringConstraints(max_length=512)]
_Status = Literal["in_progress", "completed", "incomplete"]


class InputTextIn(Section):
    """A piece of text that the model is given."""

    type: Literal["input_text"]
    text: str


class InputImageIn(Section):
    """An image that the model is given."""

    type: Literal["input_image"]
    image_url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high"] = "auto"


class OutputTextIn(Section):
    """A piece of an earlier answer, as it was given."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class OutputRefusalIn(Section):
    """An earlier refusal."""

    type: Literal["refusal"]
    refusal: str


class MessageItemIn(Section):
    """One turn. `content` parts are checked by `responses_in`, which knows their kinds."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Any]
    # What a client echoes when it sends an answer back.
    id: str | None = None
    status: _Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class FunctionCallIn(Section):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: Id
    name: ToolName
    arguments: str
    id: str | None = None
    status: _Status | None = None


class FunctionCallOutputIn(Section):
    """What came of a call."""

    type: Literal["function_call_output"]
    call_id: Id
    output: str | list[Any]
    id: str | None = None
    status: _Status | None = None


class FunctionToolIn(Section):
    """A function the model may call."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChosenFunctionIn(Section):
    """The function that must be called."""

    type: Literal["function"]
    name: ToolName


class TextFormatIn(Section):
    """The form of the answer. `schema` goes with `json_schema` and only there."""

    type: Literal["text", "json_object", "json_schema"]
    name: ToolName | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextIn(Section):
    """What the text of the answer is to be like."""

    format: TextFormatIn | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningIn(Section):
    """How much to think. No component tells its thoughts, so there is no summary of them."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseStreamOptions(Section):
    """Nothing is padded here."""

    include_obfuscation: Literal[False] | None = None


class ResponsesBody(Section):
    """The body of `POST /v1/responses`. Items, tools and the choice among them are checked by `responses_in`."""

    model: str = Field(min_length=1, max_length=256)
    input: str | list[Any]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    tools: list[Any] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: TextIn | None = None
    reasoning: ReasoningIn | None = None
    max_output_tokens: int | None = Field(None, ge=1, le=2**31 - 1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_logprobs: int | None = Field(None, ge=0, le=20)
    include: list[str] | None = Field(None, max_length=16)
    metadata: dict[_MetadataKey, _MetadataValue] | None = Field(None, max_length=16)
    turnout: WishesIn = WishesIn()


# As `schema.HARMLESS`, for responses. What is refused here needs answers that are kept, or tools of OpenAI's own.
HARMLESS: dict[str, tuple[Any, ...] | None] = {
    "user": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "max_tool_calls": None,  # counts calls of tools that OpenAI runs
    "store": (False, None),
    "background": (False, None),
    "truncation": ("disabled", None),
    "service_tier": ("auto", "default", None),
    "previous_response_id": (None,),
    "conversation": (None,),
    "prompt": (None,),
    "context_management": (None,),
    "moderation": (None,),
}
_KEPT = ": nothing is kept here between requests; send the whole conversation as 'input'"
HINTS = dict.fromkeys(("store", "background", "previous_response_id", "conversation", "prompt"), _KEPT)
