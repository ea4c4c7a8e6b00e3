"""Chat streams as a client sees them: when each piece arrives, and how many tokens the answer has in the end.

A bare `asyncio.Protocol`, so that the client takes as little as possible of the processor that the model computes on.
Reads a JSON list of requests (bodies without `stream`) from its standard input; `--streams` of them are under way at
any time. Every answer must end with a finish reason and `[DONE]`. Prints one line of JSON.

    python -m evals.bench.llm_load --url http://127.0.0.1:8080 --streams 4 < requests.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

from evals.bench.samples import quantile
from evals.bench.sse_load import WrongAnswer

KEY_VARIABLE = "TURNOUT_BENCH_KEY"
_TIMEOUT_S = 300.0
_EXIT_WRONG = 3
_HTTP_PORT, _OK = 80, 200


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Chunk)


@dataclass(slots=True)
class Answer:
    """One stream. Times are those of `time.perf_counter`.

    Attributes:
        arrivals_s: of every piece of text.
        tokens: by the server's own count; where it tells none, the number of pieces.
    """

    began_s: float
    arrivals_s: list[float] = field(default_factory=list)
    ended_s: float = 0.0
    tokens: int = 0
    text: str = ""
    reason: str = ""

    @property
    def first_s(self) -> float:
        """Seconds from the request to the first piece of text."""
        return self.arrivals_s[0] - self.began_s

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between one piece and the next."""
        return [later - earlier for earlier, later in zip(self.arrivals_s, self.arrivals_s[1:], strict=False)]


class Stream(asyncio.Protocol):
    """One connection for one answer: not every server keeps it open for another."""

    def __init__(self, host: str, key: str) -> None:
        authorization = f"authorization: Bearer {key}\r\n" if key else ""
        self._head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n{authorization}"
            "content-type: application/json\r\naccept: text/event-stream\r\ncontent-length: "
        ).encode()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._done = False
        self._answer = Answer(0.0)
        self._ended: asyncio.Future[Answer] | None = None
        self._heard: Callable[[Answer], None] = _ignore

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = transport  # type: ignore[assignment]  # a TCP client's transports are duplex

    async def ask(self, body: dict[str, Any], heard: Callable[[Answer], None] | None = None) -> Answer:
        """Send a request and wait for the end of its answer. `heard` is told of every piece.

        Raises:
            WrongAnswer: it is not a complete stream.
        """
        if self._transport is None or self._transport.is_closing():
            raise WrongAnswer("the connection is closed")
        data = json.dumps(body | {"stream": True, "stream_options": {"include_usage": True}}).encode()
        self._parser = httptools.HttpResponseParser(self)
        self._rest, self._done, self._heard = b"", False, heard or _ignore
        self._ended = asyncio.get_running_loop().create_future()
        self._answer = Answer(time.perf_counter())
        self._transport.write(self._head + b"%d\r\n\r\n" % len(data) + data)
        return await self._ended

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # What a callback of ours raises comes out as the cause of the parser's own error.
            why = error.__context__ or error
            self._fail(why if isinstance(why, WrongAnswer) else WrongAnswer(f"not HTTP: {why}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Right only when nothing was being waited for."""
        self._fail(WrongAnswer(f"the connection broke: {exc or 'closed by the server'}"))

    # Called by the parser.

    def on_body(self, body: bytes) -> None:
        """A part of the event stream, cut anywhere."""
        now_s = time.perf_counter()
        if self._parser.get_status_code() != _OK:
            raise WrongAnswer(f"status {self._parser.get_status_code()}: {body[:300]!r}")
        *lines, self._rest = (self._rest + body).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._on_data(line[5:].strip(), now_s)

    def on_message_complete(self) -> None:
        """The end of the response."""
        answer = self._answer
        answer.ended_s = time.perf_counter()
        if not (self._done and answer.reason and answer.arrivals_s):
            self._fail(WrongAnswer(f"the stream has no clean end after {answer.text[-100:]!r}"))
            return
        answer.tokens = answer.tokens or len(answer.arrivals_s)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(answer)

    def _on_data(self, data: bytes, now_s: float) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        try:
            chunk = _DECODER.decode(data)
        except msgspec.DecodeError as error:
            raise WrongAnswer(f"not a chunk: {data[:200]!r}") from error
        if chunk.error is not None:
            raise WrongAnswer(f"the stream holds an error: {data[:200]!r}")
        answer = self._answer
        if chunk.usage is not None:
            answer.tokens = chunk.usage.completion_tokens
        for choice in chunk.choices:
            answer.reason = choice.finish_reason or answer.reason
            if choice.delta.content:
                answer.arrivals_s.append(now_s)
                answer.text += choice.delta.content
                self._heard(answer)

    def _fail(self, error: WrongAnswer) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)
        self.close()


def _ignore(_answer: Answer) -> None:
    pass


async def ask(url: str, key: str, body: dict[str, Any], heard: Callable[[Answer], None] | None = None) -> Answer:
    """Send a request on a new connection and wait for the end of its answer. `heard` is told of every piece.

    Raises:
        WrongAnswer: it is not a complete stream.
    """
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(
        lambda: Stream(parts.netloc, key), parts.hostname or "127.0.0.1", parts.port or _HTTP_PORT
    )
    try:
        return await stream.ask(body, heard)
    finally:
        stream.close()


async def load(url: str, requests: Sequence[dict[str, Any]], streams: int, key: str) -> list[Answer]:
    """All answers; each stream takes the next request when it has ended one.

    Raises:
        WrongAnswer: any stream was not right.
    """
    waiting = iter(requests)
    answers: list[Answer] = []

    async def one() -> None:
        for request in waiting:
            answers.append(await ask(url, key, request))  # noqa: PERF401 - shared by all streams

    async with asyncio.timeout(_TIMEOUT_S):
        await asyncio.gather(*(one() for _ in range(streams)))
    return answers


def figures(answers: Sequence[Answer]) -> dict[str, Any]:
    """Tokens per second over all streams, and the times of first and later tokens, milliseconds."""
    first_s = [answer.first_s for answer in answers]
    gaps_s = [gap for answer in answers for gap in answer.gaps_s]
    tokens = sum(answer.tokens for answer in answers)
    took_s = max(answer.ended_s for answer in answers) - min(answer.began_s for answer in answers)
    return {
        "tokens": tokens,
        "answers": len(answers),
        "tps": tokens / took_s,
        "ttft_p50_ms": quantile(first_s, 0.5) * 1000,
        "ttft_p95_ms": quantile(first_s, 0.95) * 1000,
        "tpot_p50_ms": quantile(gaps_s, 0.5) * 1000 if gaps_s else 0.0,
        "tpot_p99_ms": quantile(gaps_s, 0.99) * 1000 if gaps_s else 0.0,
    }


def main() -> None:
    """Read the command line and the requests, load, print. The API key is in TURNOUT_BENCH_KEY."""
    parser = argparse.ArgumentParser(prog="llm_load", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--streams", type=int, required=True)
    given = parser.parse_args()
    key = os.environ.get(KEY_VARIABLE, "")
    try:
        answers = uvloop.run(load(given.url, json.load(sys.stdin), given.streams, key))
    except (WrongAnswer, OSError, TimeoutError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(_EXIT_WRONG)
    sys.stdout.write(json.dumps(figures(answers) | {"texts": [answer.text for answer in answers]}) + "\n")


if __name__ == "__main__":
    main()
