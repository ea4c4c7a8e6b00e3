"""The chosen numbers of instances: kept, taken over, and not overwritten by one who has not seen the newest."""

from __future__ import annotations

import pytest

from services.bus.memory import MemoryBus
from services.contracts import subjects
from services.contracts.control import ScaleTo
from services.contracts.errors import ComponentUnavailable, Conflict
from services.controller import lasting
from services.controller.counts import Counts
from tests.services.controller.inside import inside


async def successor(bus: MemoryBus, *, inherit: bool = True) -> Counts:
    found = Counts(bus)
    await found.begin(inherit=inherit)
    return found


async def test_a_successor_takes_them_over_and_what_slept_starts_awake() -> None:
    bus = MemoryBus()
    first = await successor(bus)
    await first.keep({"one": 3, "two": 0})
    assert (await successor(bus)).chosen == {"one": 3, "two": 1}


async def test_a_new_beginning_forgets_them_for_good() -> None:
    bus = MemoryBus()
    await (await successor(bus)).keep({"one": 3})
    assert (await successor(bus, inherit=False)).chosen == {}
    assert (await successor(bus)).chosen == {}


async def test_of_two_controllers_the_one_that_has_not_seen_the_newest_is_refused_once() -> None:
    bus = MemoryBus()
    old, new = await successor(bus), await successor(bus)
    await new.keep({"one": 2})
    with pytest.raises(Conflict):
        await old.keep({"one": 3})
    assert (await successor(bus)).chosen == {"one": 2}
    await old.keep({"one": 3})  # it has looked by now
    assert (await successor(bus)).chosen == {"one": 3}


async def test_a_bus_that_goes_away_between_taking_it_and_saying_so_is_no_conflict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Forgetful(MemoryBus):
        failures = 1

        async def kv_put(self, bucket: str, key: str, value: bytes, *, after: int | None = None) -> int:
            revision = await super().kv_put(bucket, key, value, after=after)
            if self.failures:
                self.failures -= 1
                raise ComponentUnavailable("the bus failed")
            return revision

    monkeypatch.setattr(lasting, "AGAIN_S", 0.01)
    bus = Forgetful()
    first = await successor(bus)
    await first.keep({"one": 2})
    await first.keep({"one": 3})
    assert (await successor(bus)).chosen == {"one": 3}


async def test_what_another_version_has_kept_is_forgotten() -> None:
    bus = MemoryBus()
    await bus.kv_put(subjects.SCALE_BUCKET, subjects.SCALE_KEY, b"?")
    first = await successor(bus)
    assert first.chosen == {}
    await first.keep({"one": 2})
    assert (await successor(bus)).chosen == {"one": 2}


async def test_a_change_of_the_catalog_fits_them_to_its_bounds_and_forgets_those_of_what_is_gone() -> None:
    async with inside(one={"replicas": {"min": 1, "max": 3}}, two={"replicas": {"min": 1, "max": 2}}) as it:
        for name, count in (("one", 3), ("two", 2)):
            assert (await it.order(ScaleTo(name, count))).error is None
        assert (await successor(it.bus)).chosen == {"one": 3, "two": 2}
        await it.apply(one={"replicas": {"min": 1, "max": 2}})
        assert (await successor(it.bus)).chosen == {"one": 2}
        await it.until_left("one-3", "two-1", "two-2")
        assert [beat.instance for beat in it.beats()] == ["one-1", "one-2"]


async def test_a_number_that_cannot_be_kept_is_not_run() -> None:
    async with inside(one={"replicas": {"min": 1, "max": 3}}) as it:
        await it.bus.kv_put(subjects.SCALE_BUCKET, subjects.SCALE_KEY, b'{"one":1}')  # by whom?
        done = await it.order(ScaleTo("one", 2))
        assert done.error is not None
        assert done.error.code == "conflict"
        await it.until_left("one-2")
        assert [beat.instance for beat in it.beats()] == ["one-1"]
