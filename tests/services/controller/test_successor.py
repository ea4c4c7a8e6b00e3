"""`turnout up` is killed at every point of a change; the one that is started after it finds a whole system, not half.

The children are fakes on a real nats-server; what they were built from shows in the slots that they announce.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from pathlib import Path

import pytest

from services.bus.nats_bus import connected
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.control import DONE_DECODER, HAPPENING_DECODER, Apply, Command, Done, ScaleTo
from services.contracts.messages import encode
from services.worker.process import read_snapshot
from tests.services.controller.fleet import Fleet, configuration, fleet
from tests.support.processes import await_none_left


async def seen(running: Fleet, slots: int) -> tuple[list[Beat], int]:
    """The instances of `one` once there is a single one with so many slots; and the slots in the stored catalog."""
    async with connected(running.nats_url(), name="test") as bus:
        roster = Roster(bus)
        await roster.start()
        try:
            async with asyncio.timeout(20):
                while True:
                    beats = [beat for beat in roster.all() if beat.component == "one"]
                    if [(b.state, b.slots) for b in beats] == [("ready", slots)]:
                        break
                    await asyncio.sleep(0.02)
            stored = await read_snapshot(bus)
        finally:
            await roster.stop()
    return beats, stored.catalog.components["one"].slots


async def order(running: Fleet, command: Command | str) -> Done:
    command = Apply(command) if isinstance(command, str) else command
    async with connected(running.nats_url(), name="test") as bus:
        return DONE_DECODER.decode(await bus.ask(subjects.CONTROLLER, encode(command), 30))


async def serving(running: Fleet, count: int) -> list[str]:
    """The instances of `one` once so many serve."""
    async with connected(running.nats_url(), name="test") as bus:
        roster = Roster(bus)
        await roster.start()
        try:
            async with asyncio.timeout(20):
                while len(found := roster.ready("one")) != count:
                    await asyncio.sleep(0.02)
        finally:
            await roster.stop()
    return sorted(beat.instance for beat in found)


async def told(running: Fleet) -> list[str]:
    """What the bus keeps of what has happened."""
    async with connected(running.nats_url(), name="test") as bus:
        return [HAPPENING_DECODER.decode(data).text async for data in bus.replay(subjects.EVENTS)]


def killed(running: Fleet) -> None:
    running.process.kill()
    running.process.wait()


@pytest.mark.parametrize("point", ["one-2 starts on stand-by", "one-2 serves", "one-1 finishes"])
def test_a_saved_change_that_was_under_way_is_finished_by_the_successor(tmp_path: Path, point: str) -> None:
    with fleet(tmp_path, "one", "two") as first:
        first.await_ready()
        first.configure(one=2, two=1)
        first.await_line(point)
        killed(first)
        with fleet(tmp_path) as second:
            await_none_left(first.mark, 2.0)
            second.await_ready()
            second.await_line("the one before was killed: revision")
            beats, stored = asyncio.run(seen(second, 2))
            assert stored == 2
            assert beats[0].generation in (1, 2)  # started from it, or exchanged for it
            second.process.send_signal(signal.SIGTERM)
            assert second.end() == 0


@pytest.mark.parametrize("point", ["hello from one-2", "one-2 serves"])  # how far it gets until then is open
def test_an_ordered_change_that_was_under_way_is_undone_or_done_but_never_half(tmp_path: Path, point: str) -> None:
    """It was not in a file: what the bus has stored is what was in force."""
    with fleet(tmp_path, "one", "two") as first:
        first.await_ready()
        url = first.nats_url()

        async def change() -> None:
            async with connected(url, name="test") as bus:
                await bus.publish(subjects.CONTROLLER, encode(Apply(configuration({"one": 2, "two": 1}))))
                await bus.flush()

        asyncio.run(change())
        first.await_line(point)
        killed(first)
        with fleet(tmp_path) as second:
            second.await_ready()
            line = second.await_line("the one before was killed: revision")
            revision = re.search(r"revision (\d+)", line)
            assert revision is not None
            slots = {"1": 1, "2": 2}[revision[1]]
            _, stored = asyncio.run(seen(second, slots))
            assert stored == slots
            assert asyncio.run(order(second, configuration({"one": 3, "two": 1}))).error is None
            asyncio.run(seen(second, 3))


def test_what_was_ordered_and_in_force_outlives_a_kill_but_not_a_stop(tmp_path: Path) -> None:
    with fleet(tmp_path, "one") as first:
        first.await_ready()
        assert asyncio.run(order(first, configuration({"one": 2}))).revision == 2
        killed(first)
    with fleet(tmp_path) as second:
        second.await_ready()
        asyncio.run(seen(second, 2))
        second.process.send_signal(signal.SIGTERM)
        assert second.end() == 0
    with fleet(tmp_path) as third:
        third.await_ready()
        asyncio.run(seen(third, 1))
        assert "was killed" not in third.log


def test_a_file_that_became_unusable_meanwhile_does_not_keep_the_successor_down(tmp_path: Path) -> None:
    with fleet(tmp_path, "one") as first:
        first.await_ready()
        killed(first)
    (tmp_path / "turnout.yaml").write_text("components: {one: {kind: vizion}}")
    with fleet(tmp_path) as second:
        second.await_ready()
        second.await_line("not applied:")
        asyncio.run(seen(second, 1))


def test_a_start_that_fails_after_a_kill_leaves_the_next_one_what_was_in_force(tmp_path: Path) -> None:
    with fleet(tmp_path, "one") as first:
        first.await_ready()
        assert asyncio.run(order(first, configuration({"one": 2}))).error is None
        killed(first)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with fleet(tmp_path, port=holder.getsockname()[1]) as second:
            assert second.end(30) == 1
    with fleet(tmp_path) as third:
        third.await_ready()
        asyncio.run(seen(third, 2))


def test_the_chosen_number_of_instances_outlives_a_kill_but_not_a_stop_and_events_outlive_both(tmp_path: Path) -> None:
    (tmp_path / "turnout.yaml").write_text("components: {one: {kind: vision, replicas: {min: 1, max: 3}}}")
    with fleet(tmp_path) as first:
        first.await_ready()
        assert asyncio.run(order(first, ScaleTo("one", 3))).error is None
        killed(first)
    with fleet(tmp_path) as second:
        second.await_ready()
        assert asyncio.run(serving(second, 3)) == ["one-1", "one-2", "one-3"]
        assert asyncio.run(order(second, ScaleTo("one", 2))).error is None
        killed(second)
    with fleet(tmp_path) as third:
        third.await_ready()
        asyncio.run(serving(third, 2))
        third.process.send_signal(signal.SIGTERM)
        assert third.end() == 0
    with fleet(tmp_path) as fourth:
        fourth.await_ready()
        asyncio.run(serving(fourth, 1))
        events = asyncio.run(told(fourth))
        assert [text for text in events if "->" in text] == [
            "~ one: 1 -> 3 instances",
            "~ one: 3 -> 2 instances",
        ]
        assert sum("has begun" in text for text in events) == 4
        killed(fourth)
    with fleet(tmp_path) as fifth:
        fifth.await_ready()
        asyncio.run(serving(fifth, 1))  # what was chosen before the stop does not come back
