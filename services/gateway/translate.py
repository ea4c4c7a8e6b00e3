"""From OpenAI's request to ours. Pure: what must be fetched or decoded has been, and comes in as `images`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from services.contracts.errors import InvalidRequest, Unsupported
from services.contracts.messages import (
    ChatRequest,
    EmbedRequest,
    Image,
    ImagePart,
    Message,
    Part,
    ResponseFormat,
    Sampling,
    TextPart,
    ToolCall,
    ToolSpec,
    Wishes,
)
from services.gateway.schema import (
    ChatBody,
    EmbedBody,
    ImagePartIn,
    ImageUrl,
    MessageIn,
    NamedTool,
    ResponseFormatIn,
    TextPartIn,
    WishesIn,
    explain,
)

MAX_STOPS = 16
MAX_INPUTS = 2048
_CHOICES = frozenset(("auto", "none", "required"))
_NOT_DONE = frozenset(("input_audio", "file", "video_url", "audio_url"))


@dataclass(frozen=True, slots=True)
class ImageAt:
    """An image a request names, and the parameter it stands in."""

    where: ImageUrl
    param: str


ContentPart = TextPartIn | ImageAt
Content = str | tuple[ContentPart, ...]


def contents(body: ChatBody) -> list[Content]:
    """The content of each message, its parts checked.

    Raises:
        InvalidRequest: a message lacks content or has a malformed part; `Unsupported` for sound, video and files.
    """
    found = [_content(message, f"messages[{index}]") for index, message in enumerate(body.messages)]
    if not any(found):
        raise InvalidRequest("the messages are empty: none has any content", param="messages")
    return found


def to_chat(body: ChatBody, parts: Sequence[Content], images: Mapping[str, Image]) -> ChatRequest:
    """The chat request. `parts` are its `contents`; `images` the images found there, by parameter.

    Raises:
        InvalidRequest: the parameters contradict each other.
    """
    tools = tuple(
        ToolSpec(t.function.name, t.function.description or "", t.function.parameters or {}, bool(t.function.strict))
        for t in body.tools or ()
    )
    return ChatRequest(
        messages=tuple(
            _message(message, content, images, f"messages[{index}]")
            for index, (message, content) in enumerate(zip(body.messages, parts, strict=True))
        ),
        stream=bool(body.stream),
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        parallel_tool_calls=body.parallel_tool_calls is not False,
        response_format=_response_format(body.response_format),
        sampling=_sampling(body),
    )


def to_embed(body: EmbedBody) -> EmbedRequest:
    """The embedding request.

    Raises:
        InvalidRequest: no input, or one that is empty; `Unsupported` for tokens in place of text.
    """
    inputs = [body.input] if isinstance(body.input, str) else body.input
    if not inputs:
        raise InvalidRequest("there is nothing to embed", param="input")
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequest(f"more than {MAX_INPUTS} inputs", param="input")
    for index, text in enumerate(inputs):
        param = "input" if isinstance(body.input, str) else f"input[{index}]"
        if isinstance(text, int | list):
            raise Unsupported("token arrays are not supported; send text", param="input")
        if not isinstance(text, str):
            raise InvalidRequest("an input must be a string", param=param)
        if not text:
            raise InvalidRequest("an input must not be empty", param=param)
    return EmbedRequest(tuple(inputs), body.turnout.purpose)


def to_wishes(wishes: WishesIn) -> Wishes:
    """What the router is asked to heed."""
    return Wishes(wishes.quality, wishes.max_cost_usd, wishes.privacy, wishes.strict, wishes.priority)


def joined(role: str, parts: tuple[ContentPart, ...], param: str) -> Content:
    """The parts of a turn; as one text where there is no image among them.

    Raises:
        InvalidRequest: an image that is not the user's.
    """
    if role != "user" and any(isinstance(part, ImageAt) for part in parts):
        raise InvalidRequest("images belong into messages with the role 'user'", param=param)
    if all(isinstance(part, TextPartIn) for part in parts):
        return "\n".join(part.text for part in parts if isinstance(part, TextPartIn))
    return parts


def images_in(contents: Iterable[Content]) -> list[ImageAt]:
    """Every image there, in order."""
    return [
        part for content in contents if not isinstance(content, str) for part in content if isinstance(part, ImageAt)
    ]


def filled(content: Content, images: Mapping[str, Image]) -> str | tuple[Part, ...]:
    """The content of a turn with its images in place."""
    return content if isinstance(content, str) else tuple(_to_part(part, images) for part in content)


def tool_choice(tools: Sequence[ToolSpec], mode: str | None, named: str | None, name_at: str) -> str:
    """Whether a tool is to be called, or which one.

    Args:
        mode: auto, none or required.
        named: the tool that must be called, in place of a mode.
        name_at: where in a tool's parameters its name stands.

    Raises:
        InvalidRequest: there is no such tool, or two of one name.
    """
    names = [tool.name for tool in tools]
    for index, name in enumerate(names):
        if name in _CHOICES or name in names[:index]:
            raise InvalidRequest(f"the tool name {name!r} is taken", param=f"tools[{index}].{name_at}")
    if named is not None:
        if named not in names:
            raise InvalidRequest(f"tools has no function {named!r}", param="tool_choice")
        return named
    if mode == "required" and not tools:
        raise InvalidRequest("tool_choice is 'required', but there are no tools", param="tool_choice")
    return mode or "auto"


def _content(message: MessageIn, param: str) -> Content:
    content = message.content
    if isinstance(content, str):
        return content
    if content is None:
        if message.role == "assistant" and message.tool_calls:
            return ""
        if message.role == "assistant" and message.refusal is not None:
            return message.refusal
        raise InvalidRequest(f"Missing required parameter: '{param}.content'", param=f"{param}.content")
    if not content:
        raise InvalidRequest("a list of content parts must not be empty", param=f"{param}.content")
    parts = tuple(_part(raw, f"{param}.content[{index}]") for index, raw in enumerate(content))
    return joined(message.role, parts, f"{param}.content")


def _part(raw: Any, param: str) -> ContentPart:
    if not isinstance(raw, dict):
        raise InvalidRequest("a content part must be an object", param=param)
    kind = raw.get("type")
    try:
        if kind == "text":
            return TextPartIn.model_validate(raw)
        if kind == "image_url":
            part = ImagePartIn.model_validate(raw)
            return ImageAt(part.image_url, f"{param}.image_url.url")
    except ValidationError as error:
        raise explain(error, param) from error
    if kind == "refusal" and isinstance(raw.get("refusal"), str):
        return TextPartIn(type="text", text=raw["refusal"])
    if isinstance(kind, str) and kind in _NOT_DONE:
        raise Unsupported(f"content of type {kind!r} is not supported", param=f"{param}.type")
    raise InvalidRequest("type must be 'text' or 'image_url'", param=f"{param}.type")


def _message(message: MessageIn, content: Content, images: Mapping[str, Image], param: str) -> Message:
    if message.tool_calls and message.role != "assistant":
        raise InvalidRequest("only an assistant's turn has tool_calls", param=f"{param}.tool_calls")
    if message.role == "tool" and message.tool_call_id is None:
        raise InvalidRequest(f"Missing required parameter: '{param}.tool_call_id'", param=f"{param}.tool_call_id")
    return Message(
        role="system" if message.role == "developer" else message.role,
        content=filled(content, images),
        name=message.name,
        tool_calls=tuple(
            ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()
        ),
        tool_call_id=message.tool_call_id if message.role == "tool" else None,
    )


def _to_part(part: ContentPart, images: Mapping[str, Image]) -> Part:
    if isinstance(part, TextPartIn):
        return TextPart(part.text)
    return ImagePart(images[part.param], part.where.detail)


def _tool_choice(body: ChatBody, tools: tuple[ToolSpec, ...]) -> str:
    choice = body.tool_choice
    if isinstance(choice, NamedTool):
        return tool_choice(tools, None, choice.function.name, "function.name")
    return tool_choice(tools, choice, None, "function.name")


def _response_format(wanted: ResponseFormatIn | None) -> ResponseFormat:
    if wanted is None:
        return ResponseFormat()
    if wanted.type != "json_schema":
        if wanted.json_schema is not None:
            raise InvalidRequest("json_schema goes with type 'json_schema'", param="response_format.json_schema")
        return ResponseFormat(wanted.type)
    if wanted.json_schema is None or wanted.json_schema.schema_ is None:
        param = "response_format.json_schema" + (".schema" if wanted.json_schema else "")
        raise InvalidRequest(f"Missing required parameter: {param!r}", param=param)
    schema = wanted.json_schema
    return ResponseFormat("json_schema", schema.schema_, schema.name, bool(schema.strict))


def _sampling(body: ChatBody) -> Sampling:
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options goes with stream: true", param="stream_options")
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("top_logprobs goes with logprobs: true", param="top_logprobs")
    limits = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise InvalidRequest("max_tokens and max_completion_tokens contradict each other", param="max_tokens")
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(stops) > MAX_STOPS or not all(stops):
        raise InvalidRequest(f"stop must be at most {MAX_STOPS} strings, none of them empty", param="stop")
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        seed=body.seed,
        stop=tuple(stops),
        max_tokens=next(iter(limits), None),
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repeat_penalty=body.repeat_penalty,
        logit_bias={int(token): bias for token, bias in (body.logit_bias or {}).items()},
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        reasoning_effort=body.reasoning_effort,
    )
