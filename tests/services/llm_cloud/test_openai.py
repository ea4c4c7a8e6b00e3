"""OpenAI's protocol, spoken with a real server over a real socket."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from services.bus.memory import MemoryBus
from services.contracts.errors import Unsupported, UpstreamError
from services.contracts.events import Delta
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

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
TOOL = ToolSpec("add", "adds", {"type": "object", "properties": {"a": {"type": "integer"}}})


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_with_text_usage_and_cost(upstream: Upstream, cloud: Cloud, stream: bool) -> None:
    upstream.answer = "one two three"
    upstream.always = Behaviour(cached_tokens=2)
    async with cloud() as direct:
        heard = await hear(direct, chat("say three words", stream=stream))
    assert heard.text == "one two three"
    assert heard.finished.reason == "stop"
    assert heard.finished.detail == {}
    usage = heard.finished.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (3, 3, 2)
    assert usage.cost_usd == pytest.approx(9e-6)
    body = upstream.requests[0].body
    assert body["messages"] == [{"role": "user", "content": "say three words"}]
    assert body.get("stream_options") == ({"include_usage": True} if stream else None)


async def test_a_stream_arrives_while_it_is_made(upstream: Upstream, cloud: Cloud) -> None:
    upstream.answer = "first second"
    upstream.script(Behaviour(stall_after=2))  # the role, then one word
    async with cloud() as direct:
        events = direct.events(chat("go", stream=True))
        texts: list[str] = []
        async for event in events:
            if isinstance(event, Delta):
                texts.append(event.text)
                upstream.release()
    assert texts == ["first ", "second"]


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls_keep_their_ids_names_and_arguments(upstream: Upstream, cloud: Cloud, stream: bool) -> None:
    upstream.script(Behaviour(calls=(("add", {"a": 1, "b": "x" * 50}), ("add", {"a": 2}))))
    request = ChatRequest(
        (Message("user", "add"),), stream=stream, tools=(TOOL,), tool_choice="add", parallel_tool_calls=False
    )
    async with cloud() as direct:
        heard = await hear(direct, request)
    assert [(c.id, c.name, json.loads(c.arguments)) for c in heard.calls] == [
        ("call_0x", "add", {"a": 1, "b": "x" * 50}),
        ("call_1x", "add", {"a": 2}),
    ]
    assert heard.finished.reason == "tool_calls"
    body = upstream.requests[0].body
    assert body["tools"] == [
        {"type": "function", "function": {"name": "add", "description": "adds", "parameters": TOOL.parameters}}
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert body["parallel_tool_calls"] is False


async def test_results_of_tools_go_back_as_they_came(upstream: Upstream, cloud: Cloud) -> None:
    messages = (
        Message("system", "be exact"),
        Message("user", "add", name="ann"),
        Message("assistant", "", tool_calls=(ToolCall("c1", "add", '{"a":1}'),)),
        Message("tool", "2", tool_call_id="c1"),
    )
    async with cloud() as direct:
        await hear(direct, ChatRequest(messages))
    assert upstream.requests[0].body["messages"] == [
        {"role": "system", "content": "be exact"},
        {"role": "user", "content": "add", "name": "ann"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "content": "2", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize("by_reference", [False, True])
async def test_images_reach_the_vendor_as_data_urls(upstream: Upstream, cloud: Cloud, by_reference: bool) -> None:
    bus = MemoryBus()
    digest = hashlib.sha256(PNG).hexdigest()
    ref = await bus.blob_put(PNG) if by_reference else None
    blob = Blob(digest, len(PNG), data=None if by_reference else PNG, ref=ref)
    content = (TextPart("what is it?"), ImagePart(Image(blob, "image/png", 8, 8), detail="low"))
    async with cloud(images=True, bus=bus) as direct:
        await hear(direct, ChatRequest((Message("user", content),)))
    parts = upstream.requests[0].body["messages"][0]["content"]
    assert parts[0] == {"type": "text", "text": "what is it?"}
    url = parts[1]["image_url"]["url"]
    assert parts[1]["image_url"]["detail"] == "low"
    assert url.startswith("data:image/png;base64,")
    assert base64.b64decode(url.partition(",")[2]) == PNG


async def test_a_large_image_goes_out_whole(upstream: Upstream, cloud: Cloud) -> None:
    bus = MemoryBus()
    data = bytes(range(256)) * 12_000
    ref = await bus.blob_put(data)
    image = Image(Blob(hashlib.sha256(data).hexdigest(), len(data), ref=ref), "image/png", 8, 8)
    async with cloud(images=True, bus=bus) as direct:
        await hear(direct, ChatRequest((Message("user", (ImagePart(image),)),)))
    url = upstream.requests[0].body["messages"][0]["content"][0]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == data


async def test_every_honoured_parameter_is_sent(upstream: Upstream, cloud: Cloud) -> None:
    sampling = Sampling(
        temperature=0.5,
        top_p=0.9,
        seed=0,
        stop=("a", "b"),
        max_tokens=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logit_bias={5: -100.0},
        logprobs=True,
        top_logprobs=2,
        reasoning_effort="low",
    )
    schema = {"type": "object", "properties": {"x": {"type": "number"}}}
    wanted = ResponseFormat("json_schema", schema, "point", strict=True)
    async with cloud(logprobs=True) as direct:
        heard = await hear(direct, ChatRequest((Message("user", "go"),), response_format=wanted, sampling=sampling))
    body = upstream.requests[0].body
    assert {name: body[name] for name in ("temperature", "top_p", "seed", "stop", "max_tokens")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 0,
        "stop": ["a", "b"],
        "max_tokens": 7,
    }
    assert (body["presence_penalty"], body["frequency_penalty"], body["logit_bias"]) == (0.1, 0.2, {"5": -100.0})
    assert (body["logprobs"], body["top_logprobs"], body["reasoning_effort"]) == (True, 2, "low")
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "point", "schema": schema, "strict": True},
    }
    assert heard.logprobs[0].top == (("All ", -0.1), ("other", -2.5))


async def test_the_length_limit_is_reported(upstream: Upstream, cloud: Cloud) -> None:
    upstream.answer = "a b c d"
    async with cloud() as direct:
        heard = await hear(direct, chat("go", max_tokens=2))
    assert (heard.text, heard.finished.reason) == ("a b ", "length")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("told", "ours"), [("content_filter", "content_filter"), ("function_call", "tool_calls"), ("novel", "stop")]
)
async def test_finish_reasons_are_mapped(upstream: Upstream, cloud: Cloud, stream: bool, told: str, ours: str) -> None:
    upstream.script(Behaviour(reason=told))
    async with cloud() as direct:
        assert (await hear(direct, chat("go", stream=stream))).finished.reason == ours


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_passed_on_as_one(upstream: Upstream, cloud: Cloud, stream: bool) -> None:
    upstream.script(Behaviour(refusal="I will not."))
    async with cloud() as direct:
        heard = await hear(direct, chat("go", stream=stream))
    assert (heard.refusal, heard.text) == ("I will not.", "")


@pytest.mark.parametrize("stream", [False, True])
async def test_without_the_vendors_count_tokens_are_estimated_and_marked(
    upstream: Upstream, cloud: Cloud, stream: bool
) -> None:
    upstream.answer = "x" * 40
    upstream.script(Behaviour(usage=False))
    async with cloud() as direct:
        heard = await hear(direct, chat("y" * 80, stream=stream))
    assert heard.finished.detail == {"usage_estimated": True}
    assert (heard.finished.usage.input_tokens, heard.finished.usage.output_tokens) == (20, 10)


async def test_a_stream_without_its_done_mark_ends_well_after_a_finish_reason(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(done=False, reason="stop"))
    async with cloud() as direct:
        assert (await hear(direct, chat("go", stream=True))).text == "All is well here."


async def test_a_stream_that_just_ends_is_an_error(upstream: Upstream, cloud: Cloud) -> None:
    upstream.script(Behaviour(done=False))
    async with cloud() as direct:
        with pytest.raises(UpstreamError, match="ended before"):
            await hear(direct, chat("go", stream=True))


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ChatRequest((Message("user", "x"),), tools=(TOOL,)), "tools"),
        (ChatRequest((Message("user", "x"),), response_format=ResponseFormat("json_object")), "response_format"),
        (chat("x", top_k=4), "top_k"),
        (chat("x", logprobs=True), "logprobs"),
        (chat("x", repeat_penalty=1.1), "repeat_penalty"),
        (
            ChatRequest((Message("user", (ImagePart(Image(Blob("0", 1, data=b"x"), "image/png", 1, 1)),)),)),
            "messages",
        ),
    ],
)
async def test_what_cannot_be_honoured_is_refused_and_not_ignored(
    upstream: Upstream, cloud: Cloud, request_: ChatRequest, param: str
) -> None:
    async with cloud(tools=False, json_schema=False) as direct:
        with pytest.raises(Unsupported) as caught:
            await hear(direct, request_)
    assert caught.value.param == param
    assert upstream.requests == []


async def test_a_wish_that_the_model_refuses_is_left_out_from_then_on(upstream: Upstream, cloud: Cloud) -> None:
    told = {"error": {"message": "only the default is supported", "code": "unsupported_value", "param": "temperature"}}
    upstream.script(Behaviour(status=400, body=told))
    async with cloud() as direct:
        await hear(direct, chat("go", temperature=0.1))
        await hear(direct, chat("go", temperature=0.1))
    assert ["temperature" in r.body for r in upstream.requests] == [True, False, False]


async def test_a_server_that_wants_the_limits_other_name_gets_it(upstream: Upstream, cloud: Cloud) -> None:
    told = {"error": {"message": "use max_completion_tokens", "code": "unsupported_parameter", "param": "max_tokens"}}
    upstream.script(Behaviour(status=400, body=told))
    async with cloud() as direct:
        await hear(direct, chat("go", max_tokens=5))
    assert [r.body.get("max_completion_tokens") for r in upstream.requests] == [None, 5]


async def test_the_beat_says_what_the_component_can_do(cloud: Cloud) -> None:
    async with cloud(images=True, logprobs=True, local=True, context_tokens=9000) as direct:
        beat = direct.worker.beat()
    assert beat.capabilities == ("chat", "tools", "json", "image", "logprobs")
    assert {"stop", "seed", "logit_bias", "top_logprobs"} <= set(beat.params)
    assert (beat.context_tokens, beat.local, beat.state) == (9000, True, "ready")
    assert beat.price.output_usd_per_mtok == 2.0


async def test_connections_are_kept_alive(upstream: Upstream, cloud: Cloud) -> None:
    async with cloud() as direct:
        for stream in (False, True, False, True, False):
            await hear(direct, chat("go", stream=stream))
            await direct.at_rest()
    assert len(upstream.requests) == 5
    assert upstream.connections == 1
