"""A real HTTP server that speaks OpenAI's and Anthropic's protocols, for tests.

It lives in a thread of the test process, so that Turnout, in-process or as child processes, reaches it over a socket:

    with running_upstream() as upstream:
        upstream.answer = "42"                        # or a function of the messages
        upstream.script(Behaviour(status=503), GOOD)  # one behaviour a request, then `upstream.always`
        ...                                           # base_url: upstream.base_url
        assert upstream.requests[0].body["messages"] == ...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.upstream_answers import (
    GOOD,
    AnswerText,
    AnthropicAnswer,
    Behaviour,
    Json,
    OpenAiAnswer,
    last_question,
    text_of,
)

__all__ = ["GOOD", "Behaviour", "Received", "Upstream", "last_question", "running_upstream", "text_of"]

_SECRET_HEADERS = frozenset({"authorization", "x-api-key"})
_PATIENCE_S = 10.0


@dataclass
class Received:
    """A request that came. `body` is parsed JSON; `ended` and `left` are set when it is over.

    Attributes:
        headers: lower case, without those that carry a key; ask `used_key` for them.
        left: the client hung up before its answer was complete.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Json
    at_s: float
    connection: int
    left: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    key: str = field(default="", repr=False)

    @property
    def messages(self) -> list[Json]:
        """The conversation as the vendor sees it."""
        found: list[Json] = self.body.get("messages", [])
        return found

    @property
    def prompt(self) -> str:
        """All text of the request, system prompt included."""
        system = self.body.get("system") or ""
        return "\n".join(
            [*([system] if isinstance(system, str) and system else []), *(text_of(m) for m in self.messages)]
        )

    def used_key(self, key: str) -> bool:
        """Whether the request was authorized with `key`."""
        return self.key == key


class Upstream:
    """The server under the test's control. Everything here may be used from the test's thread.

    Attributes:
        answer: text of good answers, or a function from the messages to it.
        always: behaviour of requests for which no other is scripted.
        requests: all that came, in order.
        key: if set, requests without it are refused with 401, and the refusal quotes the key as some vendors do.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.answer: AnswerText = "All is well here."
        self.always = GOOD
        self.key: str | None = None
        self.requests: list[Received] = []
        self.port = 0
        self._scripted: deque[Behaviour] = deque()
        self._news = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._released = asyncio.Event()
        self._stopped = asyncio.Event()
        self._connections = 0

    @property
    def base_url(self) -> str:
        """For both protocols: their paths are appended to it."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/v1"

    @property
    def connections(self) -> int:
        """Connections opened so far."""
        return self._connections

    def script(self, *behaviours: Behaviour) -> None:
        """The next requests are answered so, one each."""
        self._scripted.extend(behaviours)

    def release(self) -> None:
        """End every stall, now and to come."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._released.set)

    async def seen(self, count: int = 1, timeout_s: float = _PATIENCE_S) -> Received:
        """Wait until so many requests have come; returns the last of them."""
        return await asyncio.to_thread(self.wait_seen, count, timeout_s)

    def wait_seen(self, count: int = 1, timeout_s: float = _PATIENCE_S) -> Received:
        """As `seen`, from a test that is not a coroutine."""
        with self._news:
            came = self._news.wait_for(lambda: len(self.requests) >= count, timeout_s)
            assert came, f"only {len(self.requests)} of {count} requests came in {timeout_s} s"
            return self.requests[count - 1]

    # In the server's thread from here on.

    async def run(self, ready: threading.Event) -> None:
        """Serve until stopped."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64 * 1024 * 1024, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopped.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def stop(self) -> None:
        """Ask the server to end."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        try:
            while (received := await self._read(reader, number)) is not None:
                with self._news:
                    self.requests.append(received)
                    behaviour = self._scripted.popleft() if self._scripted else self.always
                    self._news.notify_all()
                try:
                    go_on = await self._answer(received, behaviour, reader, writer)
                except ConnectionError:
                    received.left.set()
                    go_on = False
                received.ended.set()
                if not go_on:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            with contextlib.suppress(RuntimeError):
                writer.transport.abort() if writer.transport.get_write_buffer_size() == 0 else writer.close()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Received | None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        content = b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await reader.readline()).split(b";")[0], 16):
                content += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            content = await reader.readexactly(int(headers.get("content-length", "0")))
        key = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("x-api-key", "")
        shown = {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}
        body = json.loads(content) if content else {}
        return Received(method, path, shown, body, time.monotonic(), number, key=key)

    async def _answer(
        self, received: Received, how: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; whether the connection goes on."""
        if how.cut_before:
            writer.transport.abort()
            return False
        if how.stall_before and not await self._stall(received, reader):
            return False
        if how.raw is not None:
            writer.write(how.raw)
            await writer.drain()
            writer.close()
            return False
        fixed = self._fixed(received, how)
        if fixed is None:
            return await self._say(received, how, reader, writer)
        status, body = fixed
        _write(writer, status, body, how.content_type or "application/json", how.headers)
        await writer.drain()
        return True

    def _fixed(self, received: Received, how: Behaviour) -> tuple[int, bytes] | None:
        """Status and body of an answer that no model gave; None if the model is to answer."""
        if self.key is not None and received.key != self.key:
            return 401, json.dumps({"error": {"message": f"Incorrect API key provided: {received.key}"}}).encode()
        if how.status != 200:
            return how.status, how.body if isinstance(how.body, bytes) else json.dumps(how.body or {}).encode()
        if how.replace_body is not None:
            return 200, how.replace_body
        if received.path.endswith("/models"):
            return 200, b'{"object":"list","data":[{"id":"test-model","object":"model"}]}'
        if not received.path.endswith(("/chat/completions", "/messages")):
            return 404, b'{"error":{"message":"no such path"}}'
        return None

    async def _say(
        self, received: Received, how: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        kind = OpenAiAnswer if received.path.endswith("/chat/completions") else AnthropicAnswer
        text = self.answer if how.text is None else how.text
        answer = kind(received.body, how, text if isinstance(text, str) else text(received.messages))
        if received.body.get("stream"):
            return await self._stream(received, how, answer.stream(), reader, writer)
        body = json.dumps(answer.plain()).encode()
        shown = body if how.cut_after is None else body[: len(body) // 2]
        head = {"content-length": str(len(body)), **how.headers}
        writer.write(_head(200, how.content_type or "application/json", head) + shown)
        await writer.drain()
        return how.cut_after is None

    async def _stream(
        self,
        received: Received,
        how: Behaviour,
        events: list[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        mime = how.content_type or "text/event-stream"
        writer.write(_head(200, mime, {"transfer-encoding": "chunked", **how.headers}))
        for index, event in enumerate(events):
            if index == how.cut_after:
                writer.transport.abort()
                return False
            if index == how.stall_after and not await self._stall(received, reader):
                return False
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _stall(self, received: Received, reader: asyncio.StreamReader) -> bool:
        """Wait for `release()`; False if the client hangs up first."""
        gone = asyncio.ensure_future(reader.read(1))
        free = asyncio.ensure_future(self._released.wait())
        try:
            await asyncio.wait((gone, free), return_when=asyncio.FIRST_COMPLETED)
            if free.done():
                return True
            received.left.set()
            return False
        finally:
            for task in (gone, free):
                task.cancel()
            await asyncio.gather(gone, free, return_exceptions=True)


def _head(status: int, mime: str, more: dict[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Status",
        f"content-type: {mime}",
        *(f"{name}: {value}" for name, value in more.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _write(
    writer: asyncio.StreamWriter, status: int, body: bytes, mime: str, more: dict[str, Any] | None = None
) -> None:
    writer.write(_head(status, mime, {"content-length": str(len(body)), **(more or {})}) + body)


@contextmanager
def running_upstream(tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    """A server on a free port while the block runs; with `tls`, one that speaks https."""
    upstream = Upstream(tls)
    ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(upstream.run(ready)), name="upstream", daemon=True)
    thread.start()
    assert ready.wait(_PATIENCE_S), "the upstream did not start"
    try:
        yield upstream
    finally:
        upstream.stop()
        thread.join(_PATIENCE_S)
        assert not thread.is_alive(), "the upstream did not stop"
