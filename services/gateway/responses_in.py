"""From a request of the Responses API to a chat request. Pure, as `translate` is, and with its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from services.contracts.errors import InvalidRequest, TurnoutError, Unsupported
from services.contracts.messages import (
    ChatRequest,
    Image,
    Message,
    ResponseFormat,
    Sampling,
    ToolCall,
    ToolSpec,
)
from services.gateway.responses_schema import (
    ChosenFunctionIn,
    FunctionCallIn,
    FunctionCallOutputIn,
    FunctionToolIn,
    InputImageIn,
    InputTextIn,
    MessageItemIn,
    OutputRefusalIn,
    OutputTextIn,
    ResponsesBody,
    TextFormatIn,
)
from services.gateway.schema import MAX_MESSAGES, ImageUrl, Section, TextPartIn, explain
from services.gateway.translate import Content, ContentPart, ImageAt, filled, joined, tool_choice

LOGPROBS = "message.output_text.logprobs"
INCLUDED = frozenset((LOGPROBS, "reasoning.encrypted_content"))  # of the second there is none, so it is all there
MODES = frozenset(("auto", "none", "required"))
_SHOWN_CHARS = 64
_OWN_WORDS = {
    "messages": "input",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "include",
}
Part = TypeVar("Part", bound=Section)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the conversation, its parts checked, its images not yet there."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Content = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


def turns(body: ResponsesBody) -> list[Turn]:
    """The conversation.

    Raises:
        InvalidRequest: an item is malformed or there is nothing to answer; `Unsupported` for items of other kinds.
    """
    items = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input
    if len(items) > MAX_MESSAGES:
        raise InvalidRequest(f"more than {MAX_MESSAGES} items", param="input")
    found: list[Turn] = []
    called: set[str] = set()
    for index, raw in enumerate(items):
        turn = _turn(raw, f"input[{index}]")
        called.update(call.id for call in turn.calls)
        if turn.call_id is not None and turn.call_id not in called:
            param = f"input[{index}].call_id"
            raise InvalidRequest("the call that this is the output of must stand before it in 'input'", param=param)
        _append(found, turn)
    if not any(turn.content or turn.calls for turn in found):
        raise InvalidRequest("the input is empty", param="input")
    return [Turn("system", body.instructions), *found] if body.instructions else found


def messages(conversation: Sequence[Turn], images: Mapping[str, Image]) -> tuple[Message, ...]:
    """The turns as chat has them. `images` are those of the conversation, by parameter."""
    return tuple(Message(t.role, filled(t.content, images), None, t.calls, t.call_id) for t in conversation)


def to_request(body: ResponsesBody) -> ChatRequest:
    """The chat request, as yet without its messages.

    Raises:
        InvalidRequest: the parameters contradict each other; `Unsupported`: they ask for what is not done here.
    """
    tools = tuple(_tool(raw, f"tools[{index}]") for index, raw in enumerate(body.tools or ()))
    mode, named = _choice(body.tool_choice)
    if body.text is not None and body.text.verbosity not in (None, "medium"):
        raise Unsupported("'text.verbosity' is not supported with this value", param="text.verbosity")
    return ChatRequest(
        messages=(),
        stream=bool(body.stream),
        tools=tools,
        tool_choice=tool_choice(tools, mode, named, "name"),
        parallel_tool_calls=body.parallel_tool_calls is not False,
        response_format=_format(body.text.format if body.text is not None else None),
        sampling=_sampling(body),
    )


def in_own_words(error: TurnoutError) -> None:
    """Call the parameter that an error is about as a client of this interface does. Components speak of chat."""
    if error.param is not None:
        head = error.param.partition(".")[0].partition("[")[0]
        error.param = _OWN_WORDS.get(head, error.param)


def _turn(raw: Any, param: str) -> Turn:
    if not isinstance(raw, dict):
        raise InvalidRequest("an item must be an object", param=param)
    kind = raw.get("type") or "message"
    if kind == "message":
        message = _checked(MessageItemIn, raw, param)
        role: Literal["system", "user", "assistant"] = "system" if message.role == "developer" else message.role
        return Turn(role, _content(message.content, role, f"{param}.content"))
    if kind == "function_call":
        call = _checked(FunctionCallIn, raw, param)
        return Turn("assistant", calls=(ToolCall(call.call_id, call.name, call.arguments),))
    if kind == "function_call_output":
        output = _checked(FunctionCallOutputIn, raw, param)
        return Turn("tool", _content(output.output, "tool", f"{param}.output"), call_id=output.call_id)
    raise _not_done("an item", kind, param, "'message', 'function_call' or 'function_call_output'")


def _append(found: list[Turn], turn: Turn) -> None:
    """Add a turn. What the assistant said and called at once is one turn of chat, though it is several items here."""
    last = found[-1] if found else None
    if last is None or not last.role == turn.role == "assistant" or not (last.calls or turn.calls):
        found.append(turn)
        return
    # An assistant has no images, so its content is text.
    texts = [content for content in (last.content, turn.content) if content and isinstance(content, str)]
    found[-1] = Turn("assistant", "\n".join(texts), last.calls + turn.calls)


def _content(content: str | list[Any], role: str, param: str) -> Content:
    if isinstance(content, str):
        return content
    if not content:
        raise InvalidRequest("a list of content parts must not be empty", param=param)
    return joined(role, tuple(_part(raw, f"{param}[{index}]") for index, raw in enumerate(content)), param)


def _part(raw: Any, param: str) -> ContentPart:
    if not isinstance(raw, dict):
        raise InvalidRequest("a content part must be an object", param=param)
    kind = raw.get("type")
    if kind == "input_text":
        return TextPartIn(type="text", text=_checked(InputTextIn, raw, param).text)
    if kind == "output_text":
        return TextPartIn(type="text", text=_checked(OutputTextIn, raw, param).text)
    if kind == "refusal":
        return TextPartIn(type="text", text=_checked(OutputRefusalIn, raw, param).refusal)
    if kind == "input_image":
        if raw.get("file_id") is not None:
            raise Unsupported("files are not kept here; send 'image_url'", param=f"{param}.file_id")
        image = _checked(InputImageIn, raw, param)
        return ImageAt(ImageUrl(url=image.image_url, detail=image.detail), f"{param}.image_url")
    raise _not_done("a content part", kind, param, "'input_text', 'input_image', 'output_text' or 'refusal'")


def _tool(raw: Any, param: str) -> ToolSpec:
    if not isinstance(raw, dict):
        raise InvalidRequest("a tool must be an object", param=param)
    if raw.get("type") != "function":
        raise _not_done("a tool", raw.get("type"), param, "'function'")
    tool = _checked(FunctionToolIn, raw, param)
    return ToolSpec(tool.name, tool.description or "", tool.parameters or {}, bool(tool.strict))


def _choice(raw: Any) -> tuple[str | None, str | None]:
    """How to choose, or the name of what must be called."""
    if raw is None or (isinstance(raw, str) and raw in MODES):
        return raw, None
    if not isinstance(raw, dict):
        modes = "'auto', 'none', 'required' or an object that names a function"
        raise InvalidRequest(f"tool_choice must be {modes}", param="tool_choice")
    if raw.get("type") != "function":
        raise _not_done("a tool_choice", raw.get("type"), "tool_choice", "'function'")
    return None, _checked(ChosenFunctionIn, raw, "tool_choice").name


def _format(wanted: TextFormatIn | None) -> ResponseFormat:
    if wanted is None:
        return ResponseFormat()
    if wanted.type != "json_schema":
        if wanted.schema_ is not None:
            raise InvalidRequest("schema goes with type 'json_schema'", param="text.format.schema")
        return ResponseFormat(wanted.type)
    if wanted.schema_ is None:
        raise InvalidRequest("Missing required parameter: 'text.format.schema'", param="text.format.schema")
    return ResponseFormat("json_schema", wanted.schema_, wanted.name or "answer", bool(wanted.strict))


def _sampling(body: ResponsesBody) -> Sampling:
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options goes with stream: true", param="stream_options")
    included = body.include or ()
    for index, name in enumerate(included):
        if name not in INCLUDED:
            raise Unsupported(f"{name[:_SHOWN_CHARS]!r} is not supported", param=f"include[{index}]")
    if body.reasoning is not None and body.reasoning.summary not in (None, "auto"):
        raise Unsupported("no component gives a summary of its reasoning", param="reasoning.summary")
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=body.max_output_tokens,
        logprobs=LOGPROBS in included or bool(body.top_logprobs),
        top_logprobs=body.top_logprobs or 0,
        reasoning_effort=body.reasoning.effort if body.reasoning is not None else None,
    )


def _checked(kind: type[Part], raw: dict[str, Any], param: str) -> Part:
    """A part of the request. Null says as much as nothing: clients send items back with all that could be in them."""
    try:
        return kind.model_validate({key: value for key, value in raw.items() if value is not None})
    except ValidationError as error:
        raise explain(error, param) from error


def _not_done(what: str, kind: Any, param: str, known: str) -> InvalidRequest:
    if isinstance(kind, str):
        return Unsupported(
            f"{what} of type {kind[:_SHOWN_CHARS]!r} is not supported; use {known}", param=f"{param}.type"
        )
    return InvalidRequest(f"{what} has a type: {known}", param=f"{param}.type")
