"""The benchmark's stream client: it must be fast, but first of all it must not accept a wrong answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from evals.bench.mock_upstream import STREAM, Mock
from evals.bench.sse_load import EXPECTED, WrongAnswer, load, text_of, unchunked

BODY = STREAM.partition(b"\r\n\r\n")[2]


def events(*chunks: dict[str, object], end: str = "data: [DONE]\n\n") -> bytes:
    return ("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end).encode()


def chunk(content: str | None, finish_reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}]}


@asynccontextmanager
async def serving(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class Canned(asyncio.Protocol):
    """Answers everything with the same bytes."""

    def __init__(self, answer: bytes, *, close: bool = False) -> None:
        self._answer = answer
        self._close = close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)
        if self._close:
            self._transport.close()


def test_the_mocks_stream_is_read_to_its_words() -> None:
    assert text_of(unchunked(BODY)) == EXPECTED


def test_text_is_joined_over_role_empty_and_usage_chunks() -> None:
    stream = events({"choices": [{"delta": {"role": "assistant"}}]}, chunk("a"), chunk(None), chunk("b", "stop"))
    assert text_of(stream.replace(b"data: [DONE]", b': comment\ndata: {"choices":[]}\n\ndata: [DONE]')) == "ab"


@pytest.mark.parametrize(
    "stream",
    [
        events(chunk("a", "stop"), end=""),
        events(chunk("a")),
        events(chunk("a"), {"error": {"message": "broken"}}, chunk("b", "stop")),
    ],
    ids=["no end mark", "no finish reason", "an error in the middle"],
)
def test_a_stream_without_a_clean_end_is_wrong(stream: bytes) -> None:
    with pytest.raises(WrongAnswer):
        text_of(stream)


@pytest.mark.parametrize(
    "body",
    [b"", b"5\r\nhello\r\n", b"5\r\nhel", b"xyz\r\nhello\r\n0\r\n\r\n", b"3\r\nhello\r\n0\r\n\r\n"],
    ids=["empty", "no last chunk", "cut off", "not a size", "longer than it says"],
)
def test_broken_chunks_are_wrong(body: bytes) -> None:
    with pytest.raises(WrongAnswer):
        unchunked(body)


async def test_streams_follow_one_another_until_the_time_is_up() -> None:
    async with serving(Mock) as url:
        found = await load(url, "mock-1", connections=4, seconds=0.2, key="")
    assert found["streams"] > 4
    assert 0 < found["ttft_p50_ms"] <= found["ttft_p99_ms"]


@pytest.mark.parametrize(
    ("answer", "close"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}", False),
        (b"HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n" + BODY, False),
        (STREAM.replace(b"word5", b"wordX"), False),
        (STREAM.replace(b"[DONE]", b"[GONE]"), False),
        (STREAM[: len(STREAM) // 2], True),
    ],
    ids=["a refusal", "a failure that streams", "another word", "no end mark", "cut off"],
)
async def test_a_wrong_answer_ends_the_run(answer: bytes, close: bool) -> None:
    async with serving(lambda: Canned(answer, close=close)) as url:
        with pytest.raises(WrongAnswer):
            await load(url, "mock-1", connections=1, seconds=0.1, key="")
