"""What strangers send. Each gets its status and OpenAI's error object, and the next good request is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from services.contracts.messages import ChatRequest
from tests.services.gateway.support import Front, Scripted, catalog, chat, front

_GOOD = '{"role": "user", "content": "hi"}'


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate() -> AsyncIterator[Front]:
    async with front(snapshot=catalog(max_body_bytes=200_000)) as running:
        yield running


async def _refused(gate: Front, body: bytes, status: int) -> dict[str, Any]:
    async with gate.http() as client:
        answer = await client.post("/v1/chat/completions", content=body)
        assert answer.status_code == status, answer.text
        error: dict[str, Any] = answer.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert answer.headers["x-request-id"]
        assert "Traceback" not in answer.text
        assert (await client.post("/v1/chat/completions", json=chat("still here"))).status_code == 200
    return error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"17",
        b"{",
        b"{}",
        b"not json",
        b'{"model": "auto", "messages": [%s]} trailing' % _GOOD.encode(),
        b'{"model": "auto", "messages": [%s]}{}' % _GOOD.encode(),
        b'{"model": "auto", "model": "small", "messages": [%s]}' % _GOOD.encode(),
        b'{"model": "auto", "messages": [{"role": "user", "role": "system", "content": "hi"}]}',
        b'{"model": "auto", "messages": [%s], "temperature": NaN}' % _GOOD.encode(),
        b'{"model": "auto", "messages": [%s], "temperature": Infinity}' % _GOOD.encode(),
        b'{"model": "auto", "messages": [%s], "temperature": -Infinity}' % _GOOD.encode(),
        b'{"model": "auto", "messages": [%s], "temperature": 1e999}' % _GOOD.encode(),
        b'{"model": "auto", "messages": [%s], "seed": 1%s}' % (_GOOD.encode(), b"0" * 30),
        b'{"model": "auto", "messages": [%s], "seed": %s}' % (_GOOD.encode(), b"9" * 100_000),
        b'{"model": "auto", "messages": [%s], "seed": 18446744073709551615}' % _GOOD.encode(),
        b'{"model": "auto", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
        b'{"model": "auto", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
        b'{"model": "auto", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "auto", "messages": [{"role": "user", "content": "\\udc00\\ud800"}]}',
        b'{"model": "auto", "\\ud800": 1, "messages": [%s]}' % _GOOD.encode(),
        b'{"model": "auto", "messages": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b"[" * 100_000,
        b'{"model": "auto", "messages": [{"role": "user", "content": "a\nb"}]}',
        b"\xef\xbb\xbf" + b'{"model": "auto", "messages": [%s]}' % _GOOD.encode(),
        '{"model": "auto", "messages": [{"role": "user", "content": "hi"}]}'.encode("utf-16"),
    ],
)
async def test_json_that_is_not_plain_json_is_a_400(gate: Front, body: bytes) -> None:
    await _refused(gate, body, 400)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"api_base": "http://evil"}, "api_base"),
        ({"n_discard": 10}, "n_discard"),
        ({"base_url": "http://evil"}, "base_url"),
        ({"turnout": {"quality": 2}}, "turnout.quality"),
        ({"turnout": {"qualty": 0.2}}, "turnout.qualty"),
        ({"turnout": {"privacy": "secret"}}, "turnout.privacy"),
        ({"turnout": {"deadline_ms": 0}}, "turnout.deadline_ms"),
        ({"turnout": {"strict": 1}}, "turnout.strict"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"store": True}, "store"),
        ({"functions": []}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"reasoning_effort": "utmost"}, "reasoning_effort"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [[]]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "root", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "hi", "evil": 1}]}, "messages[0].evil"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "content": "42"}]}, "messages[0].tool_call_id"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"stop": 5}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "none"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "ghost"}}}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
    ],
)
async def test_a_parameter_we_cannot_honour_is_refused_by_name(gate: Front, more: dict[str, Any], param: str) -> None:
    error = await _refused(gate, json.dumps({**chat(), **more}).encode(), 400)
    assert error["param"] == param


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"tools": [{"type": "function", "function": {"name": "a"}}], "tool_choice": "a"},
            "Invalid 'tool_choice': should be 'auto', 'none' or 'required' or should be an object",
        ),
        ({"response_format": "json"}, "Invalid 'response_format': should be an object"),
        ({"logit_bias": [1]}, "Invalid 'logit_bias': should be an object"),
    ],
)
async def test_a_refusal_speaks_of_json_and_not_of_our_classes(gate: Front, more: dict[str, Any], message: str) -> None:
    error = await _refused(gate, json.dumps({**chat(), **more}).encode(), 400)
    assert error["message"] == message


async def test_harmless_parameters_are_taken(gate: Front) -> None:
    answer = await gate.ask(
        user="u",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        parallel_tool_calls=True,
        safety_identifier="s",
        prompt_cache_key="k",
        n=1,
        modalities=["text"],
        tools=None,
        stop=None,
        seed=None,
        functions=None,
    )
    assert answer.status_code == 200


async def test_a_missing_parameter_is_named(gate: Front) -> None:
    assert (await _refused(gate, b'{"model": "auto"}', 400))["param"] == "messages"
    assert (await _refused(gate, b'{"messages": [%s]}' % _GOOD.encode(), 400))["param"] == "model"


@pytest.mark.parametrize("name", ["ghost", "off", "router", "gateway", "../etc/passwd", "a b", "\u0000", "x" * 200])
async def test_an_unknown_model_is_a_404(gate: Front, name: str) -> None:
    error = await _refused(gate, json.dumps(chat(model=name)).encode(), 404)
    assert error["code"] == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        await gate.openai().chat.completions.create(model="ghost", messages=[{"role": "user", "content": "?"}])


async def test_a_component_the_catalog_does_not_know_yet_can_be_asked() -> None:
    async with front({"small": Scripted(), "newcomer": Scripted()}) as gate:
        assert (await gate.ask(model="newcomer")).json()["model"] == "newcomer"


async def test_a_body_of_50_mb_is_a_413(gate: Front) -> None:
    await _refused(gate, b"x" * 50_000_000, 413)


async def test_a_chunked_body_without_a_length_is_cut_off_at_the_limit(gate: Front) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    async with gate.http() as client:
        answer = await client.post("/v1/chat/completions", content=endless())
    assert answer.status_code == 413
    assert (await gate.ask()).status_code == 200


async def test_a_prompt_the_bus_cannot_carry_is_a_context_length_error() -> None:
    async with front() as gate:
        answer = await gate.ask("word " * 400_000)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "context_length_exceeded"
        assert (await gate.ask("word " * 100_000)).status_code == 200


async def test_many_messages_and_brackets_in_text_are_no_attack(gate: Front) -> None:
    turns = [{"role": "user", "content": '[[{{"\\[' * 40}] * 100
    answer = await gate.ask(messages=turns)
    assert answer.status_code == 200
    request = gate.router.tasks[-1].request
    assert isinstance(request, ChatRequest)
    assert len(request.messages) == 100


async def test_unknown_paths_and_wrong_methods_answer_in_openais_form(gate: Front) -> None:
    async with gate.http() as client:
        for path in ("/", "/v1", "/v1/chat/completions/", "/v1/completions", "/docs", "/v1/../x"):
            answer = await client.get(path)
            assert answer.status_code == 404, path
            assert answer.json()["error"]["code"] == "not_found"
        wrong = await client.get("/v1/chat/completions")
        assert wrong.status_code == 405
        assert wrong.headers["allow"] == "POST"
        assert wrong.json()["error"]["type"] == "invalid_request_error"
    assert (await gate.ask()).status_code == 200


async def test_an_unknown_path_is_named_and_a_base_url_without_v1_is_pointed_out(gate: Front) -> None:
    async with gate.http() as client:

        async def told(path: str) -> str:
            return str((await client.post(path, json={})).json()["error"]["message"])

        assert await told("/v1/completions") == (
            "there is nothing at /v1/completions; GET /openapi.json describes every path there is"
        )
        assert await told("/chat/completions") == (
            "there is nothing at /chat/completions; the base URL of an OpenAI client ends with /v1"
        )
        assert await told("/responses") == (
            "there is nothing at /responses; the base URL of an OpenAI client ends with /v1"
        )
        assert await told("/models/small") == (
            "there is nothing at /models/small; the base URL of an OpenAI client ends with /v1"
        )
        assert "nothing at /\\xe9" + "x" * 62 + ";" in await told("/%C3%A9" + "x" * 500)


async def test_too_many_requests_at_once_are_refused_with_a_time_to_retry() -> None:
    go = asyncio.Event()

    async def hold() -> None:
        await go.wait()

    async with front({"small": Scripted()}, snapshot=catalog(max_in_flight=2)) as gate:
        gate.router.hold = hold
        held = [asyncio.create_task(gate.ask()) for _ in range(2)]
        async with asyncio.timeout(5):
            while len(gate.router.tasks) < 2:
                await asyncio.sleep(0.001)
        refused = await gate.ask()
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        async with gate.http() as client:
            assert (await client.get("/health/live")).status_code == 200
        go.set()
        assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200]
        assert (await gate.ask()).status_code == 200
