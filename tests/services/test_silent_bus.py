"""A connection that stands and brings nothing any more: either end gives it up, and the client makes a new one."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from services.bus.nats_bus import NatsBus, connect
from services.bus.port import Incoming
from services.contracts.errors import TurnoutError
from tests.support.nats import NatsServer
from tests.support.wire import Wire

_IN_A_ROW = 20


async def until_all_are_answered(bus: NatsBus, subject: str) -> None:
    """Return when none of so many questions is lost any more."""
    answered = 0
    while answered < _IN_A_ROW:
        try:
            await bus.ask(subject, b"", 0.2)
            answered += 1
        except TurnoutError:
            answered = 0


async def test_both_ends_notice_and_the_connection_is_made_anew(nats_server: NatsServer, tmp_path: Path) -> None:
    login, _, address = nats_server.url.rpartition("@")
    (tmp_path / "target").write_text(address)
    name = f"test.{secrets.token_hex(6)}"
    with Wire.laid(tmp_path / "target") as wire:
        far, near = [await connect(url, name="x") for url in (f"{login}@127.0.0.1:{wire.port}", nats_server.url)]
        heard: list[NatsBus] = []
        for bus in (far, near):

            async def answer(message: Incoming, bus: NatsBus = bus) -> None:
                heard.append(bus)
                await bus.publish(message.reply, b"yes")

            await bus.subscribe(name, answer, queue="all")
            await bus.flush()
        async with asyncio.timeout(5):
            await until_all_are_answered(near, name)
        assert {id(bus) for bus in heard} == {id(far), id(near)}
        wire.cut("silent")
        async with asyncio.timeout(30):
            await until_all_are_answered(near, name)  # the server has taken the one that is cut off out of the group
            while far.connected:
                await asyncio.sleep(0.05)
        heard.clear()
        wire.mend()
        async with asyncio.timeout(30):
            while far not in heard:
                await until_all_are_answered(near, name)
        for bus in (far, near):
            await bus.close()
