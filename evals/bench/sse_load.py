"""Concurrent SSE streams on a bare `asyncio.Protocol`: as little of our own time as possible in what is measured.

Each connection asks for the next stream when one has ended. The first token is timed when its bytes arrive; every
stream is checked for its last word and its end mark, and one in `_CHECKED_EACH` is parsed and compared in full.

    python -m evals.bench.sse_load --url http://127.0.0.1:8080 --model cloud --connections 16 --seconds 3
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from evals.bench.mock_upstream import WORDS
from evals.bench.samples import quantile

EXPECTED = "".join(WORDS)
_FIRST, _LAST = WORDS[0].strip().encode(), WORDS[-1].strip().encode()
_END_OF_HEAD, _END_OF_CHUNKS = b"\r\n\r\n", b"\r\n0\r\n\r\n"
_DONE = b"data: [DONE]"
_CHECKED_EACH = 20
_GRACE_S = 60.0
_EXIT_WRONG = 3
_HTTP_PORT = 80


class WrongAnswer(Exception):
    """A stream that is not what the upstream said."""


def unchunked(body: bytes) -> bytes:
    """The content of a body in chunked transfer coding.

    Source: RFC 9112, section 7.1.

    Raises:
        WrongAnswer: it is cut short or malformed.
    """
    pieces: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\r\n", at)
        if end < 0:
            raise WrongAnswer("the chunks end without their last one")
        try:
            size = int(body[at:end].partition(b";")[0], 16)
        except ValueError as error:
            raise WrongAnswer(f"not the size of a chunk: {body[at:end][:40]!r}") from error
        if size == 0:
            return b"".join(pieces)
        piece = body[end + 2 : end + 2 + size]
        if len(piece) < size or body[end + 2 + size : end + 4 + size] != b"\r\n":
            raise WrongAnswer("a chunk is shorter than it says")
        pieces.append(piece)
        at = end + 4 + size


def text_of(events: bytes) -> str:
    """The words of an SSE stream of chat completion chunks, which must end with a finish reason and `[DONE]`.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

    Raises:
        WrongAnswer: it is not such a stream, or holds an error.
    """
    texts: list[str] = []
    finished = done = False
    for line in events.decode().splitlines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            raise WrongAnswer(f"the stream holds an error: {data[:200]}")
        for choice in chunk["choices"]:
            texts.append(choice["delta"].get("content") or "")
            finished = finished or choice.get("finish_reason") == "stop"
    if not (finished and done):
        raise WrongAnswer("the stream has no clean end")
    return "".join(texts)


@dataclass(slots=True)
class Times:
    """Seconds: until the first token, and until the end, of every stream."""

    first_s: list[float] = field(default_factory=list)
    total_s: list[float] = field(default_factory=list)


class Stream(asyncio.Protocol):
    """One connection, one stream after the other until the time is up."""

    def __init__(self, head: bytes, model: str, number: int, until_s: float, times: Times) -> None:
        self._head = head
        self._model = model
        self._name = f"{time.time_ns():x}-{number}"
        self._until_s = until_s
        self._times = times
        self._asked = 0
        self._began_s = 0.0
        self._first_s = 0.0
        self._answer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        self._transport = transport  # type: ignore[assignment]  # a TCP client's transports are duplex
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Time the first word; at the end check, note, and ask again."""
        self._answer += data
        if not self._first_s and _FIRST in self._answer:
            self._first_s = time.perf_counter()
        if self._answer.endswith(_END_OF_CHUNKS):
            try:
                self._check()
            except (WrongAnswer, ValueError, KeyError) as error:
                self._end(error if isinstance(error, WrongAnswer) else WrongAnswer(f"not readable: {error}"))
                return
            now_s = time.perf_counter()
            self._times.first_s.append(self._first_s - self._began_s)
            self._times.total_s.append(now_s - self._began_s)
            if now_s < self._until_s:
                self._ask()
            else:
                self._end(None)
        elif not self._first_s and b"content-length:" in bytes(self._answer).lower().partition(_END_OF_HEAD)[0]:
            self._end(WrongAnswer(f"not a stream: {bytes(self._answer[:300])!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Right only when all has been answered."""
        if not self.ended.done():
            self.ended.set_exception(WrongAnswer(f"the connection broke: {exc or 'closed by the server'}"))

    def _ask(self) -> None:
        if self._transport is None:
            return
        self._asked += 1
        prompt = f"Summarise report {self._name}-{self._asked} of the maintenance team in one sentence."
        request = {"model": self._model, "stream": True, "messages": [{"role": "user", "content": prompt}]}
        body = json.dumps(request, separators=(",", ":")).encode()
        self._answer.clear()
        self._first_s = 0.0
        self._began_s = time.perf_counter()
        self._transport.write(self._head + b"%d\r\n\r\n" % len(body) + body)

    def _check(self) -> None:
        answer = bytes(self._answer)
        head, _, body = answer.partition(_END_OF_HEAD)
        if not head.startswith(b"HTTP/1.1 200") or not self._first_s or _LAST not in body or _DONE not in body:
            raise WrongAnswer(f"not the whole answer: {answer[:300]!r}")
        if self._asked % _CHECKED_EACH == 1 and (text := text_of(unchunked(body))) != EXPECTED:
            raise WrongAnswer(f"not the upstream's words: {text[:100]!r}")

    def _end(self, error: WrongAnswer | None) -> None:
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)
        if self._transport is not None:
            self._transport.close()


async def load(url: str, model: str, connections: int, seconds: float, key: str) -> dict[str, Any]:
    """Keep `connections` streams open for some seconds; each that has begun is awaited to its end.

    Raises:
        WrongAnswer: any stream was not right.
    """
    parts = urlsplit(url)
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {parts.netloc}\r\n{authorization}"
        "content-type: application/json\r\naccept: text/event-stream\r\ncontent-length: "
    ).encode()
    times = Times()
    loop = asyncio.get_running_loop()
    began_s = time.perf_counter()
    streams = [
        (
            await loop.create_connection(
                lambda n=number: Stream(head, model, n, began_s + seconds, times),  # type: ignore[misc]  # bound now
                parts.hostname or "127.0.0.1",
                parts.port or _HTTP_PORT,
            )
        )[1]
        for number in range(connections)
    ]
    async with asyncio.timeout(seconds + _GRACE_S):
        await asyncio.gather(*(stream.ended for stream in streams))
    took_s = time.perf_counter() - began_s
    return {
        "streams": len(times.first_s),
        "duration_s": took_s,
        "streams_s": len(times.first_s) / took_s,
        "ttft_p50_ms": quantile(times.first_s, 0.5) * 1000,
        "ttft_p99_ms": quantile(times.first_s, 0.99) * 1000,
        "total_p50_ms": quantile(times.total_s, 0.5) * 1000,
    }


def main() -> None:
    """Read the command line, load, print one line of JSON. The API key is in TURNOUT_BENCH_KEY."""
    parser = argparse.ArgumentParser(
        prog="sse_load", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    key = os.environ.get("TURNOUT_BENCH_KEY", "")
    try:
        result = uvloop.run(load(given.url, given.model, given.connections, given.seconds, key))
    except (WrongAnswer, OSError, TimeoutError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(_EXIT_WRONG)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
