"""Processes that live and say nothing."""

from __future__ import annotations

import asyncio

import pytest

from services.controller import silence
from services.controller.silence import TOO_LONG_S, Silence
from tests.services.controller.inside import inside


def test_one_that_has_spoken_and_falls_silent_is_named_after_a_while() -> None:
    watched = Silence()
    assert watched.look({"a-1": 0}, {"a-1"}, 0.0) == []
    assert watched.look({"a-1": 0}, set(), TOO_LONG_S) == []
    assert watched.look({"a-1": 0}, set(), TOO_LONG_S + 0.1) == ["a-1"]
    assert watched.look({"a-1": 0}, set(), TOO_LONG_S + 0.6) == [], "it is being ended"
    assert watched.look({"a-1": 0}, set(), 2 * TOO_LONG_S + 0.2) == ["a-1"], "and still has not"


def test_one_that_has_never_spoken_is_still_starting() -> None:
    watched = Silence()
    watched.look({"a-1": 0}, set(), 0.0)
    assert watched.look({"a-1": 0}, set(), 1000.0) == []


def test_a_new_life_under_the_same_name_starts_afresh() -> None:
    watched = Silence()
    watched.look({"a-1": 0}, {"a-1"}, 0.0)
    assert watched.look({"a-1": 1}, set(), 1000.0) == []


async def test_a_frozen_instance_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "TOO_LONG_S", 0.3)
    async with inside(one={}) as it:
        healing = asyncio.create_task(it.controller.heal(look_s=0.05))
        (before,) = it.beats()
        await asyncio.sleep(0.2)  # it is seen to speak
        monkeypatch.setattr(it.roster, "all", lambda: [b for b in it.roster._beats.values() if b != before])
        await it.until("silent")
        monkeypatch.undo()
        async with asyncio.timeout(10):
            while [b.started_s for b in it.beats()] in ([], [before.started_s]):
                await asyncio.sleep(0.02)
        healing.cancel()
