"""A `ChatRequest` as the body of Anthropic's `POST /v1/messages`.

A JSON answer is had by a tool that the model must call: what it calls the tool with is the answer.
Source: https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec

from services.contracts.errors import InvalidRequest, Unsupported
from services.contracts.messages import ChatRequest, ImagePart, Message
from services.llm_cloud.dialect import Images, bytes_of, json_object

ANSWER_TOOL = "give_answer"
_ENCODER = msgspec.json.Encoder()
_IMAGE_MIMES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def answers_by_tool(request: ChatRequest) -> bool:
    """Whether the answer comes as the input of `ANSWER_TOOL`. A tool the client insists on comes first."""
    insists = bool(request.tools) and request.tool_choice not in ("auto", "none", "required")
    return request.response_format.type != "text" and not insists


def anthropic_body(
    model: str, max_tokens: int, request: ChatRequest, images: Images, *, without: frozenset[str]
) -> bytes:
    """The body as JSON.

    Args:
        model: the vendor's name of the model.
        max_tokens: the limit if the request names none; the protocol requires one.
        request: what is asked.
        images: bytes of the images that are not inline.
        without: parameters to leave out because this model refuses them.

    Raises:
        InvalidRequest: the conversation cannot be said in this protocol.
        Unsupported: another protocol could say it.
    """
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens if sampling.max_tokens is None else sampling.max_tokens,
        "messages": _turns(request.messages, images),
    }
    if system := "\n\n".join(m.text for m in request.messages if m.role == "system" and m.text):
        body["system"] = system
    if request.stream:
        body["stream"] = True
    if sampling.temperature is not None and "temperature" not in without:
        body["temperature"] = min(sampling.temperature, 1.0)  # its scale ends at 1, where OpenAI's ends at 2
    if sampling.top_p is not None and "top_p" not in without:
        body["top_p"] = sampling.top_p
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.stop:
        body["stop_sequences"] = sampling.stop
    _tools(body, request)
    return _ENCODER.encode(body)


def _tools(body: dict[str, Any], request: ChatRequest) -> None:
    by_tool = answers_by_tool(request)
    offered = list(request.tools)
    tools: list[dict[str, Any]] = []
    for tool in offered:
        if not _TOOL_NAME.fullmatch(tool.name) or (by_tool and tool.name == ANSWER_TOOL):
            raise InvalidRequest(f"a tool cannot be called {tool.name[:64]!r} here", param="tools")
        said: dict[str, Any] = {"name": tool.name, "input_schema": {**_ANY_OBJECT, **tool.parameters}}
        if tool.description:
            said["description"] = tool.description
        tools.append(said)
    choice: dict[str, Any] = {"type": {"required": "any"}.get(request.tool_choice, request.tool_choice)}
    if request.tool_choice not in ("auto", "none", "required"):
        choice = {"type": "tool", "name": request.tool_choice}
    if by_tool:
        only = not tools or request.tool_choice == "none"
        tools.append(_answer_tool(request))
        choice = {"type": "tool", "name": ANSWER_TOOL} if only else {"type": "any"}
    if not tools:
        return
    if not request.parallel_tool_calls and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    body["tools"] = tools
    if choice != {"type": "auto"}:
        body["tool_choice"] = choice


def _answer_tool(request: ChatRequest) -> dict[str, Any]:
    wanted = request.response_format
    schema = _ANY_OBJECT if wanted.schema is None else wanted.schema
    if schema.get("type", "object") != "object":
        raise Unsupported("this component can only give JSON objects", param="response_format")
    return {
        "name": ANSWER_TOOL,
        "description": "Gives the final answer to the user. Call it once, with the whole answer.",
        "input_schema": {**_ANY_OBJECT, **schema},
    }


def _turns(messages: tuple[Message, ...], images: Images) -> list[dict[str, Any]]:
    """User and assistant turns, neighbours of one role joined: results of parallel calls must share a turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, images)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise InvalidRequest("the conversation has no turn of the user", param="messages")
    last = turns[-1]["content"][-1]
    if turns[-1]["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()  # refused otherwise
    return turns


def _blocks(message: Message, images: Images) -> list[dict[str, Any]]:
    if message.role == "tool":
        if not message.tool_call_id:
            raise InvalidRequest("a tool's result must name its call", param="messages")
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        if content := _content(message, images):
            result["content"] = content
        return [result]
    blocks = _content(message, images)
    for call in message.tool_calls:
        given = json_object(call.arguments)
        if given is None:
            raise InvalidRequest("the arguments of a tool call are not a JSON object", param="messages")
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": given})
    return blocks


def _content(message: Message, images: Images) -> list[dict[str, Any]]:
    """Text and images; empty texts are left out because the vendor refuses them."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content.strip() else []
    return [
        _image(part, images) if isinstance(part, ImagePart) else {"type": "text", "text": part.text}
        for part in message.content
        if isinstance(part, ImagePart) or part.text.strip()
    ]


def _image(part: ImagePart, images: Images) -> dict[str, Any]:
    if part.image.mime not in _IMAGE_MIMES:
        raise Unsupported(f"this component does not read {part.image.mime}", param="messages")
    data = base64.b64encode(bytes_of(part.image, images)).decode("ascii")
    return {"type": "image", "source": {"type": "base64", "media_type": part.image.mime, "data": data}}
