"""Anthropic's protocol, spoken with a real server over a real socket."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from services.contracts.errors import InvalidRequest, Overloaded, Unsupported, UpstreamError
from services.contracts.messages import (
    Blob,
    ChatRequest,
    Image,
    ImagePart,
    Message,
    ResponseFormat,
    Sampling,
    TextPart,
    ToolCall,
    ToolSpec,
)
from tests.services.llm_cloud.answers import hear
from tests.services.llm_cloud.conftest import Cloud
from tests.support.direct import chat
from tests.support.upstream import Behaviour, Upstream

TOOL = ToolSpec("add", "adds", {"properties": {"a": {"type": "integer"}}})
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
USER = (Message("user", "go"),)
ANTHROPIC: dict[str, Any] = {"protocol": "anthropic"}


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_with_text_and_usage_that_counts_cached_tokens_among_the_input(
    upstream: Upstream, cloud: Cloud, stream: bool
) -> None:
    upstream.answer = "one two three"
    upstream.always = Behaviour(cached_tokens=3)
    async with cloud(**ANTHROPIC) as direct:
        heard = await hear(direct, chat("w1 w2 w3 w4", stream=stream))
    usage = heard.finished.usage
    assert (heard.text, heard.finished.reason) == ("one two three", "stop")
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (4, 3, 3)
    received = upstream.requests[0]
    assert received.path == "/v1/messages"
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert received.body["max_tokens"] == 4096


async def test_the_conversation_is_said_in_the_vendors_form(upstream: Upstream, cloud: Cloud) -> None:
    image = Image(Blob("0", 3, data=b"png"), "image/png", 1, 1)
    messages = (
        Message("system", "be exact"),
        Message("system", "be brief"),
        Message("user", (TextPart("look"), TextPart(" "), ImagePart(image))),
        Message("assistant", "", tool_calls=(ToolCall("c1", "add", '{"a":1}'), ToolCall("c2", "add", ""))),
        Message("tool", "2", tool_call_id="c1"),
        Message("tool", "", tool_call_id="c2"),
        Message("user", "and now?"),
        Message("assistant", "Well, "),
    )
    async with cloud(**ANTHROPIC, images=True) as direct:
        await hear(direct, ChatRequest(messages))
    body = upstream.requests[0].body
    assert body["system"] == "be exact\n\nbe brief"
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"png").decode()}
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image", "source": source}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "add", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "2"}]},
                {"type": "tool_result", "tool_use_id": "c2"},
                {"type": "text", "text": "and now?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "Well,"}]},
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls_keep_their_ids_names_and_arguments(upstream: Upstream, cloud: Cloud, stream: bool) -> None:
    upstream.script(Behaviour(calls=(("add", {"a": 1, "b": "x" * 50}), ("add", {}))))
    request = ChatRequest(USER, stream=stream, tools=(TOOL,), tool_choice="required", parallel_tool_calls=False)
    async with cloud(**ANTHROPIC) as direct:
        heard = await hear(direct, request)
    assert [(c.id, c.name, json.loads(c.arguments)) for c in heard.calls] == [
        ("toolu_0", "add", {"a": 1, "b": "x" * 50}),
        ("toolu_1", "add", {}),
    ]
    assert heard.finished.reason == "tool_calls"
    body = upstream.requests[0].body
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("choice", "sent"), [("auto", None), ("none", {"type": "none"}), ("add", {"type": "tool", "name": "add"})]
)
async def test_tool_choice_is_translated(upstream: Upstream, cloud: Cloud, choice: str, sent: Any) -> None:
    upstream.script(Behaviour(calls=(("add", {}),)))
    async with cloud(**ANTHROPIC) as direct:
        await hear(direct, ChatRequest(USER, tools=(TOOL,), tool_choice=choice))
    assert upstream.requests[0].body.get("tool_choice") == sent


@pytest.mark.parametrize("stream", [False, True])
async def test_a_json_answer_comes_as_text_through_a_forced_tool(
    upstream: Upstream, cloud: Cloud, stream: bool
) -> None:
    upstream.answer = '{"x": 1.5}'
    wanted = ResponseFormat("json_schema", SCHEMA)
    async with cloud(**ANTHROPIC) as direct:
        heard = await hear(direct, ChatRequest(USER, stream=stream, response_format=wanted))
    assert json.loads(heard.text) == {"x": 1.5}
    assert (heard.calls, heard.finished.reason) == ((), "stop")
    body = upstream.requests[0].body
    assert body["tool_choice"] == {"type": "tool", "name": "give_answer"}
    assert body["tools"][0]["input_schema"] == SCHEMA


async def test_with_tools_and_a_schema_the_model_may_call_or_answer(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(calls=(("add", {"a": 1}),)))
    upstream.answer = '{"x": 2}'
    request = ChatRequest(USER, tools=(TOOL,), response_format=ResponseFormat("json_schema", SCHEMA))
    async with cloud(**ANTHROPIC) as direct:
        called, answered = await hear(direct, request), await hear(direct, request)
    assert [c.name for c in called.calls] == ["add"]
    assert called.finished.reason == "tool_calls"
    assert (answered.calls, json.loads(answered.text), answered.finished.reason) == ((), {"x": 2}, "stop")
    assert upstream.requests[0].body["tool_choice"] == {"type": "any"}


async def test_parameters_are_translated(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(reason="max_tokens"))
    sampling = Sampling(temperature=1.7, top_p=0.5, top_k=3, stop=("END",), max_tokens=9)
    async with cloud(**ANTHROPIC) as direct:
        heard = await hear(direct, ChatRequest(USER, sampling=sampling))
    body = upstream.requests[0].body
    assert {k: body[k] for k in ("temperature", "top_p", "top_k", "stop_sequences", "max_tokens")} == {
        "temperature": 1.0,
        "top_p": 0.5,
        "top_k": 3,
        "stop_sequences": ["END"],
        "max_tokens": 9,
    }
    assert heard.finished.reason == "length"


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (chat("x", seed=1), Unsupported),
        (ChatRequest(USER, response_format=ResponseFormat("json_schema", {"type": "array"})), Unsupported),
        (ChatRequest((Message("system", "alone"),)), InvalidRequest),
        (ChatRequest((*USER, Message("assistant", tool_calls=(ToolCall("c", "f", "[1"),)))), InvalidRequest),
        (ChatRequest((*USER, Message("tool", "x"))), InvalidRequest),
        (ChatRequest(USER, tools=(ToolSpec("bad name"),)), InvalidRequest),
    ],
)
async def test_what_cannot_be_said_is_refused_before_anything_is_sent(
    upstream: Upstream, cloud: Cloud, request_: ChatRequest, error: type[Exception]
) -> None:
    async with cloud(**ANTHROPIC) as direct:
        with pytest.raises(error):
            await hear(direct, request_)
    assert upstream.requests == []


async def test_an_error_event_ends_the_stream_with_what_it_says(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(error_event={"error": {"type": "overloaded_error", "message": "Overloaded"}}))
    async with cloud(**ANTHROPIC) as direct:
        with pytest.raises(Overloaded, match="Overloaded"):
            await hear(direct, chat("go", stream=True))


async def test_a_stream_without_its_last_event_is_an_error(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(done=False))
    async with cloud(**ANTHROPIC) as direct:
        with pytest.raises(UpstreamError, match="ended before"):
            await hear(direct, chat("go", stream=True))


async def test_refusals_are_marked_as_filtered(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(reason="refusal"))
    async with cloud(**ANTHROPIC) as direct:
        assert (await hear(direct, chat("go", stream=True))).finished.reason == "content_filter"
