"""Upstreams that lie, babble, flood or break HTTP: each is an error of theirs, and the component goes on."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from services.contracts.errors import UpstreamError
from tests.services.llm_cloud.answers import hear
from tests.services.llm_cloud.conftest import Cloud
from tests.support.direct import chat
from tests.support.upstream import GOOD, Behaviour, Upstream

EVENTS = "text/event-stream"
OK_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def delta(value: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": value}]})


PLAIN = {
    "not JSON": Behaviour(replace_body=b"{"),
    "empty": Behaviour(replace_body=b""),
    "not UTF-8": Behaviour(replace_body=b'{"choices": [{"message": {"content": "\xff"}}]}'),
    "a lone surrogate": Behaviour(replace_body=b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
    "nested deeply": Behaviour(replace_body=b'{"choices":' + b"[" * 100_000),
    "nested deeply where nobody looks": Behaviour(replace_body=b'{"x":' + b"[" * 100_000),
    "an array": Behaviour(replace_body=b"[]"),
    "wrong types": Behaviour(replace_body=b'{"choices": [{"message": {"content": 5}}]}'),
    "no choices": Behaviour(replace_body=b'{"choices": []}'),
    "no message": Behaviour(replace_body=b'{"choices": [{}]}'),
    "an error with status 200": Behaviour(replace_body=b'{"error": {"message": "broken"}}'),
    "HTML": Behaviour(replace_body=b"<html>sign in</html>", content_type="text/html"),
    "a stream nobody asked for": Behaviour(replace_body=b"data: {}\n\n", content_type=EVENTS),
    "a strange content type": Behaviour(replace_body=b"{}", content_type="\x01evil" + "x" * 500),
    "compressed": Behaviour(replace_body=gzip.compress(b"{}"), headers={"content-encoding": "gzip"}),
    "an unnamed tool": Behaviour(replace_body=b'{"choices": [{"message": {"tool_calls": [{"function": {}}]}}]}'),
    "cut off": Behaviour(cut_after=1),
    "not HTTP": Behaviour(raw=b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "a head without end": Behaviour(raw=OK_HEAD + b"x: y\r\n" * 20_000),
    "a negative length": Behaviour(raw=OK_HEAD + b"content-length: -5\r\n\r\n{}"),
    "two lengths": Behaviour(raw=OK_HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
    "a broken chunk": Behaviour(raw=OK_HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
    "switching protocols": Behaviour(
        raw=b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    ),
    "more than the limit": Behaviour(replace_body=b'{"x":"' + b"a" * (17 * 1024 * 1024) + b'"}'),
}

STREAMED = {
    "not JSON": Behaviour(replace_body=event(b"{"), content_type=EVENTS),
    "not the protocol": Behaviour(replace_body=event({"choices": 7}), content_type=EVENTS),
    "an error midway": Behaviour(error_event={"error": {"message": "broken", "code": 500}}),
    "no end": Behaviour(replace_body=delta({"content": "a"}), content_type=EVENTS),
    "nothing": Behaviour(replace_body=b"", content_type=EVENTS),
    "only comments": Behaviour(replace_body=b": ping\n\n" * 100, content_type=EVENTS),
    "a huge line": Behaviour(replace_body=b"data: " + b"a" * 2_000_000, content_type=EVENTS),
    "a huge event": Behaviour(replace_body=(b"data: " + b"a" * 1000 + b"\n") * 2000, content_type=EVENTS),
    "a plain answer": Behaviour(replace_body=b'{"choices": []}'),
    "cut off": Behaviour(cut_after=2),
    "a tool call out of range": Behaviour(
        replace_body=delta({"tool_calls": [{"index": 10**9, "id": "a", "function": {"name": "f"}}]}),
        content_type=EVENTS,
    ),
    "a negative tool call": Behaviour(replace_body=delta({"tool_calls": [{"index": -1}]}), content_type=EVENTS),
}

ANTHROPIC = {
    "not the protocol": Behaviour(replace_body=event([]), content_type=EVENTS),
    "arguments of no call": Behaviour(
        replace_body=event(
            {
                "type": "content_block_delta",
                "index": 3,
                "delta": {"type": "input_json_delta", "partial_json": "{"},
            }
        ),
        content_type=EVENTS,
    ),
    "an unnamed tool": Behaviour(
        replace_body=event({"type": "content_block_start", "content_block": {"type": "tool_use"}}), content_type=EVENTS
    ),
    "an error without words": Behaviour(replace_body=event({"type": "error"}), content_type=EVENTS),
}


@pytest.mark.parametrize("what", PLAIN)
async def test_plain(upstream: Upstream, cloud: Cloud, what: str) -> None:
    upstream.script(PLAIN[what])
    async with cloud(retries=0) as direct:
        with pytest.raises(UpstreamError) as caught:
            await hear(direct, chat("go"))
        assert len(caught.value.message) < 700
        assert caught.value.message.isprintable()
        assert (await hear(direct, chat("go"))).text == "All is well here."


@pytest.mark.parametrize("what", STREAMED)
async def test_streamed(upstream: Upstream, cloud: Cloud, what: str) -> None:
    upstream.script(STREAMED[what])
    async with cloud(retries=0) as direct:
        with pytest.raises(UpstreamError):
            await hear(direct, chat("go", stream=True))
        assert (await hear(direct, chat("go", stream=True))).text == "All is well here."


@pytest.mark.parametrize("what", ANTHROPIC)
async def test_anthropic(upstream: Upstream, cloud: Cloud, what: str) -> None:
    upstream.script(ANTHROPIC[what])
    async with cloud(protocol="anthropic", retries=0) as direct:
        with pytest.raises(UpstreamError):
            await hear(direct, chat("go", stream=True))
        assert (await hear(direct, chat("go", stream=True))).text == "All is well here."


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 10**30, "completion_tokens": -5}, (1_000_000_000, 0, 0)),
        ({"prompt_tokens": 4, "completion_tokens": 2.0, "prompt_tokens_details": {"cached_tokens": 99}}, (4, 2, 4)),
        ({"prompt_tokens": 4, "completion_tokens": 2, "prompt_tokens_details": None}, (4, 2, 0)),
    ],
)
async def test_a_count_that_cannot_be_is_brought_back_to_sense(
    upstream: Upstream, cloud: Cloud, usage: dict[str, Any], counted: tuple[int, int, int]
) -> None:
    body = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": usage}
    upstream.script(Behaviour(replace_body=json.dumps(body).encode()))
    async with cloud() as direct:
        found = (await hear(direct, chat("go"))).finished.usage
    assert (found.input_tokens, found.output_tokens, found.cached_tokens) == counted


LENIENT = {
    "content in parts": {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]},
    "unknown fields": {"content": "yes", "reasoning_content": "hm", "annotations": [{"a": 1}]},
}


@pytest.mark.parametrize("what", LENIENT)
async def test_servers_that_differ_a_little_are_understood(upstream: Upstream, cloud: Cloud, what: str) -> None:
    body = {"choices": [{"message": LENIENT[what], "finish_reason": "eos"}], "usage": None}
    upstream.script(Behaviour(replace_body=json.dumps(body).encode(), content_type="Application/JSON; charset=utf-8"))
    async with cloud() as direct:
        assert (await hear(direct, chat("go"))).text == "yes"


async def test_tool_calls_without_an_index_and_with_repeated_names_are_understood(
    upstream: Upstream, cloud: Cloud
) -> None:
    pieces = [
        {"id": "a", "function": {"name": "f", "arguments": '{"x'}},
        {"id": "a", "function": {"name": "f", "arguments": '":1}'}},
        {"id": "b", "function": {"name": "g", "arguments": {"y": 2}}},
    ]
    body = b"".join(delta({"tool_calls": [piece]}) for piece in pieces) + event(b"[DONE]")
    upstream.script(Behaviour(replace_body=body, content_type=EVENTS))
    async with cloud() as direct:
        heard = await hear(direct, chat("go", stream=True))
    assert [(c.id, c.name, json.loads(c.arguments)) for c in heard.calls] == [
        ("a", "f", {"x": 1}),
        ("b", "g", {"y": 2}),
    ]
    assert heard.finished.reason == "tool_calls"


async def test_a_body_without_length_ends_with_its_connection(upstream: Upstream, cloud: Cloud) -> None:
    body = b'{"choices": [{"message": {"content": "old school"}}]}'
    upstream.script(Behaviour(raw=b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + body), GOOD)
    async with cloud() as direct:
        assert (await hear(direct, chat("go"))).text == "old school"
        assert (await hear(direct, chat("go"))).text == "All is well here."
    assert upstream.connections == 2


async def test_interim_responses_are_skipped(upstream: Upstream, cloud: Cloud) -> None:
    body = b'{"choices": [{"message": {"content": "late"}}]}'
    head = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK_HEAD + b"content-length: %d\r\n\r\n" % len(body)
    upstream.script(Behaviour(raw=head + body))
    async with cloud() as direct:
        assert (await hear(direct, chat("go"))).text == "late"
