"""The fastest OpenAI-compatible server we can build in Python: what every gateway is measured against.

It answers the same small completion to everything, so that a benchmark sees the gateway and not the vendor. HTTP/1.1
is parsed by hand on a bare `asyncio.Protocol` with uvloop: keep-alive, pipelining, a body by `Content-Length` or in
chunks. Nothing else of HTTP is needed by a benchmark, so nothing else is here.

    python -m evals.bench.mock_upstream --port 9000 [--first-ms 20] [--chunk-ms 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
from typing import Any

import uvloop

WORDS = tuple(f"word{number} " for number in range(14))
MODEL = "mock-1"
USAGE = {"prompt_tokens": 12, "completion_tokens": 14, "total_tokens": 26}
MAX_REQUEST_BYTES = 16 * 1024 * 1024

_STREAM = re.compile(rb'"stream"\s*:\s*true')
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:\s*100-continue", re.IGNORECASE)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _head(status: str, mime: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: {mime}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _plain() -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS).strip()}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = {"id": "chatcmpl-mock", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL}
    return _head("200 OK", "application/json", _json({**answer, "choices": [choice], "usage": USAGE}))


def _chunks() -> list[bytes]:
    """The sixteen events of a stream: fourteen words, the finish reason, the usage; then the end mark."""
    base = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL}

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + _json({**base, "choices": choices, **more}) + b"\n\n"

    deltas: list[dict[str, Any]] = [{"content": word} for word in WORDS]
    deltas[0]["role"] = "assistant"
    events = [event([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    events.append(event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    events.append(event([], usage=USAGE) + b"data: [DONE]\n\n")
    return [b"%x\r\n%b\r\n" % (len(data), data) for data in events]


PLAIN = _plain()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNKS = _chunks()
STREAM_END = b"0\r\n\r\n"
STREAM = STREAM_HEAD + b"".join(CHUNKS) + STREAM_END
MODELS = _head("200 OK", "application/json", _json({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
BAD_REQUEST = _head("400 Bad Request", "application/json", b'{"error":{"message":"not understood"}}')


class Mock(asyncio.Protocol):
    """One connection. Requests wait their turn: an answer is complete before the next begins."""

    def __init__(self, first_s: float = 0.0, chunk_s: float = 0.0) -> None:
        self._first_s = first_s
        self._chunk_s = chunk_s
        self._unread = b""
        self._transport: asyncio.Transport | None = None
        self._busy: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport. uvloop sets TCP_NODELAY itself."""
        self._transport = transport  # type: ignore[assignment]  # a TCP server's transports are duplex

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone; so is its answer."""
        if self._busy is not None:
            self._busy.cancel()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer every whole request among the bytes so far."""
        self._unread = self._unread + data if self._unread else data
        while self._unread and self._busy is None and self._transport is not None:
            end = self._unread.find(b"\r\n\r\n")
            if end < 0:
                break
            size = self._size(self._unread[: end + 2], end + 4)
            if size is None or len(self._unread) < size:
                break
            request, self._unread = self._unread[:size], self._unread[size:]
            self._answer(request)
        if len(self._unread) > MAX_REQUEST_BYTES and self._transport is not None:
            self._transport.write(BAD_REQUEST)
            self._transport.close()

    def _size(self, head: bytes, body_at: int) -> int | None:
        """Bytes of the whole request at the front, or None while a chunked body is incomplete."""
        if (length := _LENGTH.search(head)) is not None:
            if _EXPECT.search(head) and len(self._unread) == body_at and self._transport is not None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return body_at + int(length[1])
        if _CHUNKED.search(head):
            end = self._unread.find(b"0\r\n\r\n", body_at)
            return None if end < 0 else end + 5
        return body_at

    def _answer(self, request: bytes) -> None:
        if self._transport is None:
            return
        if request.startswith(b"GET "):
            self._transport.write(MODELS)
            return
        streamed = _STREAM.search(request) is not None
        if self._first_s or (streamed and self._chunk_s):
            self._busy = asyncio.get_running_loop().create_task(self._slowly(streamed))
        else:
            self._transport.write(STREAM if streamed else PLAIN)

    async def _slowly(self, streamed: bool) -> None:
        """The same answer at a vendor's pace."""
        await asyncio.sleep(self._first_s)
        if not streamed:
            self._write(PLAIN)
        else:
            self._write(STREAM_HEAD)
            for index, chunk in enumerate(CHUNKS):
                if index and self._chunk_s:
                    await asyncio.sleep(self._chunk_s)
                self._write(chunk)
            self._write(STREAM_END)
        self._busy = None
        if self._unread:
            self.data_received(b"")

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(host: str, port: int, first_s: float, chunk_s: float) -> None:
    """Serve until SIGTERM or SIGINT; the first line on standard output says where."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Mock(first_s, chunk_s), host, port, backlog=1024)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    address, taken = server.sockets[0].getsockname()[:2]
    sys.stdout.write(f"http://{address}:{taken}/v1\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="mock_upstream", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--first-ms", type=float, default=0.0, help="delay before the first byte of an answer")
    parser.add_argument("--chunk-ms", type=float, default=0.0, help="delay between the chunks of a stream")
    given = parser.parse_args()
    uvloop.run(serve(given.host, given.port, given.first_ms / 1000, given.chunk_ms / 1000))


if __name__ == "__main__":
    main()
