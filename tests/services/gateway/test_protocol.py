"""Limits below HTTP: slow heads, slow bodies, huge heads, clients that do not read."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator

import pytest

from services.contracts.events import Delta, Event, Finished, Usage
from services.contracts.messages import Task
from services.gateway import protocol
from tests.services.gateway.support import Front, Scripted, catalog, chat, front


@pytest.fixture
async def gate() -> AsyncIterator[Front]:
    async with front(snapshot=catalog(header_timeout_s=0.2, max_body_bytes=100_000)) as running:
        yield running


async def _end(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), 5)


async def test_a_head_that_never_ends_is_a_408_and_a_closed_connection(gate: Front) -> None:
    reader, writer = await gate.raw()
    started = time.monotonic()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
    answer = asyncio.create_task(_end(reader))
    while not answer.done() and time.monotonic() - started < 5:
        writer.write(b"X-Slow: 1\r\n")  # a byte now and then must not buy more time
        await asyncio.wait([answer], timeout=0.02)
    head, _, body = (await answer).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert time.monotonic() - started < 2
    assert (await gate.ask()).status_code == 200
    writer.close()


async def test_a_connection_that_says_nothing_is_closed(gate: Front) -> None:
    reader, writer = await gate.raw()
    assert b"408" in await _end(reader)
    writer.close()


async def test_line_breaks_in_place_of_a_second_request_do_not_hold_the_connection(gate: Front) -> None:
    reader, writer = await gate.raw()
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in await reader.readuntil(b'live"}')
    writer.write(b"\r\n")
    assert b"408" in await _end(reader)
    writer.close()


async def test_a_second_slow_head_on_the_same_connection_is_limited_too(gate: Front) -> None:
    reader, writer = await gate.raw()
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b'live"}')
    writer.write(b"GET /health/live HTTP/1.1\r\nHos")
    assert b"408" in await _end(reader)
    writer.close()


async def test_a_body_that_never_ends_is_a_408(gate: Front) -> None:
    reader, writer = await gate.raw()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 408 ")
    assert (await gate.ask()).status_code == 200
    writer.close()


@pytest.mark.parametrize(
    "head", [b"X: " + b"a" * 200_000, b"".join(b"X-%d: 1\r\n" % n for n in range(200)), b"A" * 200_000]
)
async def test_a_huge_head_is_a_431(gate: Front, head: bytes) -> None:
    reader, writer = await gate.raw()
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
    status = await asyncio.wait_for(reader.readline(), 5)
    assert status.split()[1] in (b"431", b"400")
    assert (await gate.ask()).status_code == 200
    writer.close()


async def test_what_is_not_http_is_a_400_in_openais_form(gate: Front) -> None:
    reader, writer = await gate.raw()
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00 hello\r\n\r\n")
    head, _, body = (await _end(reader)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    writer.close()


async def test_two_lengths_and_a_chunked_body_are_not_accepted_together(gate: Front) -> None:
    reader, writer = await gate.raw()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert b"HTTP/1.1 400" in await _end(reader)
    writer.close()


async def test_who_sends_on_after_a_refusal_is_cut_off_in_the_end(gate: Front) -> None:
    reader, writer = await gate.raw()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n")
    assert b"413" in await asyncio.wait_for(reader.readline(), 5)
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(10):
            while True:
                writer.write(b"x" * 100_000)
                await writer.drain()
    assert (await gate.ask()).status_code == 200


async def test_a_client_that_does_not_read_is_cut_off_and_its_slot_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WRITE_STALL_S", 0.2)

    async def play(task: Task) -> AsyncIterator[Event]:
        for _ in range(100_000):
            yield Delta("x" * 10_000)
            await asyncio.sleep(0.0002)
        yield Finished(Usage(1, 1))

    worker = Scripted(play)
    async with front({"small": worker}) as gate:
        host, port = gate.url.removeprefix("http://").split(":")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (host, int(port)))
        body = json.dumps(chat(stream=True)).encode()
        await loop.sock_sendall(
            sock,
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        )
        await asyncio.wait_for(worker.started.wait(), 5)
        await asyncio.wait_for(worker.freed.wait(), 10)
        sock.close()


async def test_answers_leave_without_waiting_for_more_bytes(gate: Front) -> None:
    seen: list[int] = []
    original = protocol.GuardedProtocol.connection_made

    def spy(self: protocol.GuardedProtocol, transport: asyncio.Transport) -> None:
        original(self, transport)
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol.GuardedProtocol, "connection_made", spy)
        assert (await gate.ask()).status_code == 200
    assert seen == [1]


async def test_requests_on_one_connection_are_answered_in_order(gate: Front) -> None:
    reader, writer = await gate.raw()
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/models/auto HTTP/1.1\r\nHost: x\r\n\r\n")
    text = await asyncio.wait_for(reader.readuntil(b'"owned_by":"turnout"}'), 5)
    assert text.index(b'"live"') < text.index(b'"auto"')
    writer.close()
