"""The OpenAI request bodies this gateway takes, as pydantic models.

A parameter is honoured, refused, or known to change nothing. None is dropped in silence: an unknown one is refused by
name, and so is a known one that we do not do.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from services.contracts.errors import InvalidRequest, Unsupported
from services.contracts.messages import Priority

MAX_MESSAGES = 4096
MAX_TOOLS = 128
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Bias = Annotated[float, Field(ge=-100, le=100)]
Body = TypeVar("Body", bound=BaseModel)
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class Section(BaseModel):
    """Base of all sections: no coercion, no unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class CalledFunction(Section):
    """Name and arguments of a call, as the model wrote them."""

    name: ToolName
    arguments: str


class CallIn(Section):
    """A tool call of an earlier assistant turn."""

    id: Id
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class MessageIn(Section):
    """One turn. `content` parts are checked by `translate`, which knows their kinds."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Any] | None = None
    name: str | None = Field(None, max_length=256)
    tool_calls: list[CallIn] | None = Field(None, max_length=MAX_TOOLS)
    tool_call_id: Id | None = None
    # What a client echoes when it sends an answer back as a turn.
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


class TextPartIn(Section):
    """A text part."""

    type: Literal["text"]
    text: str


class ImageUrl(Section):
    """Where an image is."""

    url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePartIn(Section):
    """An image part."""

    type: Literal["image_url"]
    image_url: ImageUrl


class FunctionIn(Section):
    """A function the model may call."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolIn(Section):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: FunctionIn


class NamedFunction(Section):
    """The function that must be called."""

    name: ToolName


class NamedTool(Section):
    """A `tool_choice` that names its tool."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchemaIn(Section):
    """A schema the answer must fit."""

    name: ToolName = "answer"
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormatIn(Section):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaIn | None = None


class StreamOptions(Section):
    """What a stream carries besides the text."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class WishesIn(Section):
    """The `turnout` section: what the caller asks of the routing."""

    quality: float | None = Field(None, ge=0, le=1)
    max_cost_usd: float | None = Field(None, ge=0)
    deadline_ms: int | None = Field(None, ge=1, le=3_600_000)
    privacy: Literal["local", "any"] = "any"
    strict: bool = False
    priority: Priority = "normal"


class ChatBody(Section):
    """The body of `POST /v1/chat/completions`."""

    model: str = Field(min_length=1, max_length=256)
    messages: list[MessageIn] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[ToolIn] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormatIn | None = None
    max_tokens: int | None = Field(None, ge=1, le=2**31 - 1)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31 - 1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=_INT64_MIN, le=_INT64_MAX)
    stop: str | list[str] | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repeat_penalty: float | None = Field(None, gt=0, le=10)
    logit_bias: dict[Annotated[str, StringConstraints(pattern=r"^\d{1,9}$")], _Bias] | None = Field(
        None, max_length=1024
    )
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    turnout: WishesIn = WishesIn()


class EmbedWishesIn(WishesIn):
    """The `turnout` section of an embedding request: some models embed questions and passages differently."""

    purpose: Literal["query", "passage"] = "passage"


class EmbedBody(Section):
    """The body of `POST /v1/embeddings`."""

    model: str = Field(min_length=1, max_length=256)
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=65_536)
    turnout: EmbedWishesIn = EmbedWishesIn()


class SearchBody(Section):
    """The body of `POST /v1/search`."""

    query: str = Field(min_length=1, max_length=100_000)
    k: int = Field(4, ge=1, le=100)
    model: str = Field("auto", min_length=1, max_length=256)
    turnout: WishesIn = WishesIn()


class FeedbackBody(Section):
    """`POST /v1/feedback`."""

    decision_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] = Field(
        description="the `x-turnout-decision-id` of the answer"
    )
    quality: float = Field(ge=0, le=1, description="0: useless, 1: good")


# Parameters of OpenAI's that change nothing of an answer, with the values of which that is true. None: any value.
HARMLESS: dict[str, tuple[Any, ...] | None] = {
    "user": None,
    "metadata": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "store": (False, None),
    "service_tier": ("auto", "default", None),
    "n": (1, None),
    "modalities": (["text"], None),
    "verbosity": ("medium", None),
    "audio": (None,),
    "functions": (None,),
    "function_call": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
    "moderation": (None,),
}


def parse(
    kind: type[Body],
    raw: dict[str, Any],
    harmless: Mapping[str, tuple[Any, ...] | None] = HARMLESS,
    hints: Mapping[str, str] = MappingProxyType({}),
) -> Body:
    """`raw` as a checked body.

    Args:
        harmless: parameters that change nothing, with the values of which that is true.
        hints: what to do instead, where another value of one is refused.

    Raises:
        Unsupported: a parameter of OpenAI's asks for something we do not do.
        InvalidRequest: a parameter is unknown, missing or out of range; `param` names it.
    """
    for name in raw.keys() & harmless.keys():
        accepted = harmless[name]
        value = raw[name]
        if accepted is not None and not any(type(value) is type(one) and value == one for one in accepted):
            raise Unsupported(f"{name!r} is not supported with this value{hints.get(name, '')}", param=name)
        raw = {key: value for key, value in raw.items() if key != name}
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise explain(error) from error


def explain(error: ValidationError, within: str = "") -> InvalidRequest:
    """The first problem pydantic found, in OpenAI's words. `within` is where the checked object stands."""
    problems = error.errors(include_url=False, include_context=False)
    # An unknown key explains more than what is wrong beside it.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    param = param_name(first["loc"], within)
    if first["type"] == "extra_forbidden":
        return InvalidRequest(f"Unrecognized request argument supplied: {param}", param=param)
    if first["type"] == "missing":
        return InvalidRequest(f"Missing required parameter: {param!r}", param=param)
    same = [p for p in problems if param_name(p["loc"], within) == param]
    messages = list(dict.fromkeys(_OBJECT.sub("an object", p["msg"].removeprefix("Input ")) for p in same))
    return InvalidRequest(f"Invalid {param!r}: {' or '.join(messages)}", param=param)


def param_name(loc: tuple[int | str, ...], within: str = "") -> str:
    """A location as OpenAI writes it: `messages[0].content`. The names of union members are left out."""
    name = within
    for part in loc:
        if isinstance(part, int):
            name += f"[{part}]"
        elif not _UNION_MEMBER.match(part):
            shown = part[:64].encode("utf-8", "replace").decode()
            name += f".{shown}" if name else shown
    return name


_OBJECT = re.compile(r"a valid dictionary(?: or instance of \w+)?")  # as pydantic calls it
_UNION_MEMBER = re.compile(r"^(str|list\[.*\]|literal\[.*\]|NamedTool|\[key\])$")
