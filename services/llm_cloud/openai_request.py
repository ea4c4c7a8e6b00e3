"""A `ChatRequest` as the body of OpenAI's `POST /chat/completions`.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from services.contracts.messages import ChatRequest, ImagePart, Message, Sampling, ToolSpec
from services.llm_cloud.dialect import Images, bytes_of

_ENCODER = msgspec.json.Encoder()
_SAME_NAME = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "reasoning_effort")
_CHOICES = frozenset({"auto", "none", "required"})


def openai_body(
    model: str, request: ChatRequest, images: Images, *, without: frozenset[str], completion_tokens: bool
) -> bytes:
    """The body as JSON.

    Args:
        model: the vendor's name of the model.
        request: what is asked.
        images: bytes of the images that are not inline.
        without: parameters to leave out because this model refuses them.
        completion_tokens: whether the limit is called `max_completion_tokens`.
    """
    body: dict[str, Any] = {"model": model, "messages": [_message(message, images) for message in request.messages]}
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        choice = request.tool_choice
        if choice != "auto":
            body["tool_choice"] = choice if choice in _CHOICES else {"type": "function", "function": {"name": choice}}
        if not request.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    wanted = request.response_format
    if wanted.type == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif wanted.type == "json_schema":
        schema: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema or {}}
        if wanted.strict:
            schema["strict"] = True
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    _sampling(body, request.sampling, without, completion_tokens=completion_tokens)
    return _ENCODER.encode(body)


def _sampling(body: dict[str, Any], sampling: Sampling, without: frozenset[str], *, completion_tokens: bool) -> None:
    for name in _SAME_NAME:
        value = getattr(sampling, name)
        if value is not None and name not in without:
            body[name] = value
    if sampling.max_tokens is not None:
        body["max_completion_tokens" if completion_tokens else "max_tokens"] = sampling.max_tokens
    if sampling.stop:
        body["stop"] = sampling.stop
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.logprobs:
        body["logprobs"] = True
        if sampling.top_logprobs:
            body["top_logprobs"] = sampling.top_logprobs


def _message(message: Message, images: Images) -> dict[str, Any]:
    if isinstance(message.content, str):
        content: Any = message.content
    else:
        content = [
            _image(part, images) if isinstance(part, ImagePart) else {"type": "text", "text": part.text}
            for part in message.content
        ]
    said: dict[str, Any] = {"role": message.role, "content": content}
    if message.name is not None:
        said["name"] = message.name
    if message.tool_calls:
        said["content"] = content or None
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said


def _image(part: ImagePart, images: Images) -> dict[str, Any]:
    encoded = base64.b64encode(bytes_of(part.image, images)).decode("ascii")
    url: dict[str, str] = {"url": f"data:{part.image.mime};base64,{encoded}"}
    if part.detail != "auto":
        url["detail"] = part.detail
    return {"type": "image_url", "image_url": url}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}
