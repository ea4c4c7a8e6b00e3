"""Orders to a controller: applied whole or not at all, tried on a share of the requests, taken back."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.bus.port import Incoming
from services.contracts import subjects
from services.contracts.catalog import Snapshot
from services.contracts.catalog_file import MAX_BYTES, parse
from services.contracts.control import ORDER_DECODER, Apply, Rollback, ScaleTo
from services.contracts.errors import ComponentUnavailable, NotFound
from services.controller.ordered import ordered
from tests.services.controller.inside import FAILING, REFUSING, Inside, inside, text

QUICK = {"canary": {"share": 0.25, "requests": 40, "minutes": 60}}
TRIED = {"max_steps": 7, "swap": QUICK}


async def test_a_change_is_in_force_once_the_new_instance_serves_and_the_old_one_leaves() -> None:
    async with inside(one={}, two={}) as it:
        untouched = it.beats("two")[0]
        done = await it.apply(one={"max_steps": 7}, two={})
        assert done.error is None
        assert (await it.stored()).revision == done.revision == 2
        await it.until_left("one-1")
        (now,) = it.beats()
        assert (now.instance, now.generation, now.model, now.state) == ("one-2", 2, "steps-7", "ready")
        assert it.beats("two")[0].started_s == untouched.started_s


async def test_what_waits_at_an_instance_that_leaves_goes_back_where_others_serve_and_only_there() -> None:
    async with inside(one={"replicas": {"min": 1, "max": 2}}, two={}) as it:
        told: dict[str, bool] = {}

        async def note(message: Incoming) -> None:
            order = ORDER_DECODER.decode(message.data)
            if order.do == "drain":
                told[message.subject.rpartition(".")[2]] = order.hand_back

        await it.bus.subscribe(subjects.order("*"), note)
        await it.order(ScaleTo("one", 2))
        await it.order(ScaleTo("one", 1))
        await it.until_left("one-2")
        await it.apply(one={"max_steps": 7})
        await it.until_left("one-1", "two-1")
    assert told == {"one-2": True, "one-1": True, "two-1": False}


async def test_an_instance_that_refuses_leaves_everything_as_it_was() -> None:
    async with inside(one={}, two={}) as it:
        done = await it.apply(one={"max_steps": REFUSING}, two={"max_steps": 8})
        assert done.error is not None
        assert "components.one: max_steps: an unlucky number" in done.error.message
        await it.until_left("one-2", "two-2")
        assert [b.model for b in (*it.beats("one"), *it.beats("two"))] == ["steps-6", "steps-6"]
        assert (await it.stored()).revision == 1


async def test_what_cannot_be_stored_is_not_in_force_and_the_new_instances_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_self: object, _snapshot: Snapshot) -> None:
        raise ComponentUnavailable("the bus failed: ConnectionClosedError")

    async with inside(one={}) as it:
        monkeypatch.setattr("services.controller.controller.Controller._commit", away)
        done = await it.apply(one={"max_steps": 7})
        assert done.error is not None
        await it.until_left("one-2")
        assert [(b.instance, b.state) for b in it.beats()] == [("one-1", "ready")]
        assert it.controller.snapshot.revision == 1


async def test_an_order_that_breaks_the_controller_is_not_its_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> tuple[str, ...]:
        raise RuntimeError("secret detail")

    async with inside(one={}) as it:
        with monkeypatch.context() as patched:
            patched.setattr("services.controller.controller.changes", broken)
            done = await it.apply(one={"max_steps": 7})
        assert done.error is not None
        assert "secret" not in done.error.message
        assert (await it.apply(one={"max_steps": 7})).error is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (text(one={}, two={}).encode() + b"#" * MAX_BYTES, "f.yaml:1: larger than"),
        (text(one={}, two={}).encode() + b"# caf\xe9", "f.yaml:6: not UTF-8"),
    ],
)
async def test_a_saved_file_is_refused_for_what_every_file_is(data: bytes, said: str) -> None:
    async with inside(one={}) as it:
        done = await it.controller.saved(data, "f.yaml")
        assert done.error is not None
        assert said in done.error.message
        assert said in (await it.until("refused")).text
        assert it.controller.snapshot.revision == 1


async def test_reading_a_large_catalog_keeps_nobody_waiting() -> None:
    sections = {f"c{n}": {"enabled": False} for n in range(2000)}
    began_s = time.monotonic()
    parse(text(one={}, **sections))
    alone_s = time.monotonic() - began_s
    longest_s, at_s = 0.0, time.monotonic()
    async with inside(one={}) as it:
        applying = asyncio.create_task(it.apply(one={}, **sections))
        while not applying.done():
            await asyncio.sleep(0)
            longest_s, at_s = max(longest_s, time.monotonic() - at_s), time.monotonic()
        assert (await applying).error is None
    assert longest_s < alone_s / 2


async def test_back_to_the_one_before_is_back_to_what_was_different() -> None:
    async with inside(one={}) as it:
        await it.apply(one={"max_steps": 7})
        await it.bus.kv_put(  # as an orderly start does with the file it finds
            subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, it.controller.snapshot.model_dump_json().encode()
        )
        stored = await it.stored()
        catalog = await ordered(Rollback(), stored, it.bus, lambda *_: ())
        assert catalog.components["one"].max_steps == 6  # type: ignore[union-attr]  # an agent
        with pytest.raises(NotFound):
            await ordered(Rollback(), stored.model_copy(update={"revision": 1}), it.bus, lambda *_: ())


async def test_of_applies_that_wait_the_last_one_counts() -> None:
    async with inside(one={}) as it:
        orders = [it.controller.submit(Apply(text(one={"max_steps": steps}))) for steps in (7, 8, 9)]
        *earlier, last = await asyncio.gather(*orders)
        assert [done.error.code for done in earlier if done.error is not None] == ["conflict", "conflict"]
        assert last.error is None
        await it.until_left("one-1")
        assert [beat.model for beat in it.beats()] == ["steps-9"]


async def feed(it: Inside, *, old_ms: float = 100.0, new_ms: float = 100.0, reason: str = "stop") -> None:
    for _ in range(40):
        await it.answered("one-1", old_ms)
        await it.answered("one-2", new_ms, reason=reason)


async def test_a_generation_on_trial_takes_a_share_and_is_promoted_when_it_is_as_good() -> None:
    async with inside(one={}) as it:
        done = await it.apply(one=TRIED)
        assert done.error is None
        assert "one takes 25% of its requests" in done.trial
        assert (await it.stored()).revision == done.revision == 1  # not in force yet
        assert [(b.instance, b.share, b.state) for b in it.beats()] == [("one-1", 1, "ready"), ("one-2", 0.25, "ready")]
        await feed(it)
        promoted = await it.until("promoted")
        assert "0 of 40 failed" in promoted.text
        await it.until_left("one-1")
        (now,) = it.beats()
        assert (now.instance, now.share, now.state) == ("one-2", 1.0, "ready")
        assert (await it.stored()).revision == 2
        assert (await it.apply(one=TRIED)).changes == ()


@pytest.mark.parametrize(
    ("seen", "why"),
    [({"new_ms": 200.0}, "p95 200 ms, 100 ms before"), ({"reason": "length"}, "0% good answers, 100% before")],
)
async def test_a_generation_that_is_worse_is_rolled_back_with_the_reason(seen: dict[str, float], why: str) -> None:
    async with inside(one={}) as it:
        await it.apply(one=TRIED)
        await feed(it, **seen)  # type: ignore[arg-type]  # each is what its name says
        assert why in (await it.until("rolled_back")).text
        await it.until_left("one-2")
        assert [(b.instance, b.share) for b in it.beats()] == [("one-1", 1.0)]
        assert (await it.stored()).revision == 1


async def test_the_word_of_clients_on_answers_counts_more_than_how_they_ended() -> None:
    async with inside(one={}) as it:
        await it.apply(one=TRIED)
        for _ in range(40):
            await it.answered("one-1")
            name = await it.answered("one-2")
            await it.judged(name, 0.2)
        assert "20% good answers, 100% before" in (await it.until("rolled_back")).text


SHADOWED = {"canary": {"share": 0.5, "requests": 10, "shadow": True, "max_slowdown": 100}}


@pytest.mark.parametrize(("steps", "outcome"), [(7, "promoted"), (FAILING, "rolled_back")])
async def test_a_shadow_gets_copies_whose_answers_reach_nobody_and_is_judged_by_them(steps: int, outcome: str) -> None:
    async with inside(one={}) as it:
        done = await it.apply(one={"max_steps": steps, "swap": SHADOWED})
        assert "one hears 50% of its requests" in done.trial
        assert [(b.instance, b.state) for b in it.beats()] == [("one-1", "ready"), ("one-2", "standby")]
        async with asyncio.timeout(10):
            while it.controller._trial is not None:
                await it.asked("one-1")
                await asyncio.sleep(0.005)
        event = await it.until(outcome)
        assert "0 of" in event.text if outcome == "promoted" else "failed" in event.text
        assert (await it.stored()).revision == (2 if outcome == "promoted" else 1)


async def test_failures_that_cannot_be_chance_end_a_trial_early() -> None:
    async with inside(one={}) as it:
        await it.apply(one=TRIED)
        for number in range(13):
            for _ in range(5):
                await it.answered("one-1")
            await it.answered("one-2", failed=number < 8)
        assert "8 of 13 failed, 0 of 65 before" in (await it.until("rolled_back")).text


async def test_an_instance_that_dies_on_trial_ends_it() -> None:
    async with inside(one={}) as it:
        await it.apply(one=TRIED)
        it.driver.handles["one-2"].kill()
        assert (await it.until("rolled_back")).text == "one-2 died"
        await it.until_left("one-2")
        assert [(b.instance, b.state) for b in it.beats()] == [("one-1", "ready")]


async def test_a_later_apply_takes_the_place_of_a_trial_and_a_roll_back_ends_it() -> None:
    async with inside(one={}) as it:
        await it.apply(one=TRIED)
        assert (await it.apply(one=TRIED)).trial  # the same again changes nothing
        done = await it.apply(one={"max_steps": 9})
        assert (done.error, done.trial) == (None, "")
        assert "a later order" in (await it.until("rolled_back")).text
        await it.until_left("one-1", "one-2")
        assert [beat.model for beat in it.beats()] == ["steps-9"]
        await it.apply(one={"max_steps": 10, "swap": QUICK})
        done = await it.order(Rollback())
        assert any(line.startswith("not any more: ~ one.max_steps: 9 -> 10") for line in done.changes)
        assert (await it.stored()).revision == 2


async def test_a_bad_catalog_does_not_disturb_a_trial() -> None:
    async with inside(one={}) as it:
        await it.apply(one=TRIED)
        assert (await it.order(Apply("components: ["))).error is not None
        await feed(it)
        await it.until("promoted")


async def test_the_old_generation_is_scaled_during_a_trial_and_all_of_it_leaves_afterwards() -> None:
    room = {"replicas": {"min": 1, "max": 3}}
    async with inside(one=room) as it:
        await it.apply(one={**room, **TRIED})
        assert (await it.order(ScaleTo("one", 2))).error is None
        assert [(b.instance, b.generation, b.share) for b in it.beats()] == [
            ("one-1", 1, 1.0),
            ("one-2", 2, 0.25),
            ("one-3", 1, 1.0),
        ]
        await feed(it)
        await it.until("promoted")
        await it.until_left("one-1", "one-3")
        assert [(b.instance, b.model, b.share) for b in it.beats()] == [("one-2", "steps-7", 1.0)]
        assert (await it.order(ScaleTo("one", 2))).error is None
        assert {beat.model for beat in it.beats()} == {"steps-7"}


async def test_with_a_component_on_trial_the_others_wait_for_the_verdict() -> None:
    async with inside(one={}, two={}) as it:
        await it.apply(one=TRIED, two={"max_steps": 8})
        assert [(b.instance, b.state) for b in it.beats("two")] == [("two-1", "ready"), ("two-2", "standby")]
        await feed(it)
        await it.until("promoted")
        await it.until_left("one-1", "two-1")
        assert [(b.instance, b.state) for b in it.beats("two")] == [("two-2", "ready")]
