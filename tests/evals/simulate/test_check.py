"""The simulation beside a running gateway: both are asked, and both are told."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from evals.cli import app
from evals.simulate import check as checking
from evals.simulate.check import Alone, levels
from evals.simulate.probe import Measured, Place, Probe, probing
from evals.simulate.queue import serve
from services.contracts.errors import UpstreamError
from services.contracts.events import Delta, Event, Finished, Usage
from services.contracts.messages import Task
from services.controller.client import Client
from tests.evals.simulate.test_simulate import FIXED
from tests.services.gateway.support import Scripted, front


async def slowly(_task: Task) -> AsyncIterator[Event]:
    await asyncio.sleep(0.1)
    yield Delta("done")
    yield Finished(Usage(1, 1))


async def check(url: str, *arguments: str) -> tuple[int, str]:
    result = await asyncio.to_thread(
        CliRunner().invoke, app, ["check-simulate", "--url", url, "--component", "small", *arguments]
    )
    return result.exit_code, result.output


async def test_it_measures_a_running_component_and_says_what_was_simulated(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    async with front({"small": Scripted(play=slowly, slots=2)}) as gate:
        code, output = await check(
            gate.url, "--load", "0.3", "--load", "3", "--seconds", "3", "--calls", "8", "--out", str(out)
        )
    assert code == 0, output
    report = json.loads(out.read_text())
    light, heavy = report["rates"]
    assert (report["replicas"], report["slots"]) == (1, 2)
    assert [(len(one["service_s"]), len(one["slowdown"])) for one in report["measurements"]] == [(8, 2)] * 3
    assert light["measured"]["p50_s"] > 0.1
    assert light["low"]["p50_s"] <= light["simulated"]["p50_s"] <= light["high"]["p50_s"]
    assert heavy["measured"]["refused"] > 0.2
    assert heavy["simulated"]["refused"] > 0.2
    assert heavy["measured"]["in_use"] > light["measured"]["in_use"]


async def test_an_answer_that_fails_ends_the_measurement_with_its_message() -> None:
    async def fails(_task: Task) -> AsyncIterator[Event]:
        raise UpstreamError("the vendor is on holiday")
        yield Delta()

    async with front({"small": Scripted(play=fails)}) as gate:
        code, output = await check(gate.url)
    assert code == 1
    assert "the vendor is on holiday" in output


@pytest.mark.parametrize("component", ["big", "nobody"])
async def test_a_component_without_an_instance_cannot_be_checked(component: str) -> None:
    async with front() as gate:
        code, output = await check(gate.url, "--component", component)
    assert code == 78
    assert "no instance is ready" in output


def test_where_nobody_listens_it_says_so() -> None:
    result = CliRunner().invoke(app, ["check-simulate", "--url", "http://127.0.0.1:9", "--component", "small"])
    assert result.exit_code == 1
    assert "no Turnout at" in result.output


def test_a_system_that_is_what_it_was_measured_to_be_lies_within_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "REPEATS", 60)
    inside = dict.fromkeys(("p50_s", "p99_s", "refused", "in_use"), 0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        alone = Alone(Place(1, 4, 8), rng.exponential(0.1, 200), (1.0,))
        arrivals = np.cumsum(rng.exponential(1 / 30, 300))
        truth = serve(arrivals, rng.exponential(0.1, 300), 4, 8, math.inf, 1, FIXED)
        seen = Measured(truth.latency_s, in_use=truth.busy_s / truth.capacity_s)
        found = checking.compared(30.0, arrivals, seen, alone, alone)
        for name in inside:
            inside[name] += getattr(found.low, name) <= getattr(found.measured, name) <= getattr(found.high, name)
    assert min(inside.values()) >= 14, inside  # of 18 in the mean


def test_between_two_measurements_a_machine_is_between_them() -> None:
    place = Place(1, 2, 8)
    fast = Alone(place, np.array([3.0, 1.0]), (1.0, 1.5), 0.0)
    slow = Alone(place, np.array([2.0, 6.0]), (1.0, 1.7), 0.1)
    half = fast.towards(slow, 0.5)
    assert half.service_s.tolist() == [1.5, 4.5]
    assert half.slowdown == pytest.approx((1.0, 1.6))
    assert half.around_s == pytest.approx(0.05)


async def test_so_many_at_once_are_measured_only_while_all_places_are_filled() -> None:
    asked = took = 0

    async def counted(_task: Task) -> AsyncIterator[Event]:
        nonlocal asked
        asked += 1
        yield Finished(Usage(1, 1))

    async def work(probe: Probe) -> None:
        nonlocal took
        took = len(await probe.closed(4, 9))

    async with front({"small": Scripted(play=counted, slots=4)}) as gate:
        await asyncio.to_thread(probing, Client.make(gate.url), "small", work)
    assert took == 9
    assert asked >= 4 + 9 + 3  # before the first that counts, and beside the last


def test_slots_are_measured_at_powers_of_two_and_when_all_are_in_use() -> None:
    assert [levels(slots) for slots in (1, 2, 4, 6, 64)] == [[], [2], [2, 4], [2, 4, 6], [2, 4, 8, 16, 32, 64]]
