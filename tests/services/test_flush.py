"""What `flush` promises, seen on the wire: nothing that was sent or subscribed before it comes after its last PING."""

from __future__ import annotations

import asyncio
import contextlib

from services.bus.nats_bus import connect
from services.bus.port import Incoming
from tests.support.nats import NatsServer


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: bytearray) -> None:
    with contextlib.closing(target):
        while data := await source.read(65536):
            seen += data
            target.write(data)
            await target.drain()


async def test_a_flush_returns_when_the_server_has_read_what_was_subscribed_before(nats_server: NatsServer) -> None:
    login, _, address = nats_server.url.rpartition("@")
    host, _, port = address.rpartition(":")
    sent = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_copy(reader, questions, sent), _copy(answers, writer, bytearray()))

    async def hear(_message: Incoming) -> None: ...

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        bus = await connect(f"{login}@127.0.0.1:{server.sockets[0].getsockname()[1]}", name="x")
        try:
            for number in range(20):
                await bus.subscribe(f"flush.{number}", hear)
                await bus.flush()
                assert 0 < sent.find(b"SUB flush.%d " % number) < sent.rfind(b"PING")
        finally:
            await bus.close()
