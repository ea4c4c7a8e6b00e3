"""The simulation against queueing theory where it has an answer, and against what must hold everywhere."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from evals.cli import app
from evals.simulate.config import Part, Plan, Service, service_times
from evals.simulate.queue import Scaling, Served, serve
from evals.simulate.run import simulate
from evals.simulate.shared import serve_shared
from tests.evals.routing.support import STRONG, table

FIXED = Scaling(1, 1, 1.0, 0.7, 1.0)


def _load(rate: float, n: int, mean_s: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.exponential(1 / rate, n)), rng.exponential(mean_s, n)


def _erlang_c(offered: float, slots: int) -> float:
    """Probability that a request waits, of Poisson arrivals at `slots` exponential servers. Source: Erlang, 1917."""
    terms = [offered**k / math.factorial(k) for k in range(slots)]
    last = offered**slots / math.factorial(slots) * slots / (slots - offered)
    return last / (sum(terms) + last)


@pytest.mark.parametrize(("slots", "offered"), [(1, 0.5), (4, 3.0), (16, 14.0)])
def test_mean_wait_is_that_of_erlang(slots: int, offered: float) -> None:
    arrivals, services = _load(offered, 300_000, 1.0)

    found = serve(arrivals, services, slots, 10**9, math.inf, 1, FIXED)

    wait = float((found.latency_s - services).mean())
    assert wait == pytest.approx(_erlang_c(offered, slots) / (slots - offered), rel=0.08)
    assert found.busy_s / found.capacity_s == pytest.approx(offered / slots, rel=0.02)


@pytest.mark.parametrize(("slots", "replicas", "queue"), [(1, 1, 10**9), (3, 2, 4), (2, 1, 0)])
def test_without_a_slowdown_shared_slots_are_plain_ones(slots: int, replicas: int, queue: int) -> None:
    arrivals, services = _load(0.9 * slots * replicas, 3000, 1.0)

    plain = serve(arrivals, services, slots, queue, math.inf, replicas, Scaling(replicas, replicas, 1.0, 0.7, 1.0))
    shared = serve_shared(arrivals, services, slots, queue, math.inf, replicas, (1.0,))

    np.testing.assert_allclose(shared.latency_s, plain.latency_s, atol=1e-6)
    assert shared.busy_s / shared.capacity_s == pytest.approx(plain.busy_s / plain.capacity_s, abs=0.01)


@pytest.mark.parametrize("spread", ["exponential", "constant"])
def test_a_shared_processor_takes_as_long_as_theory_says(spread: str) -> None:
    """The mean time is E[S] / (1 - load), whatever the distribution. Source: Sakata, Noguchi and Oizumi, 1971."""
    arrivals, services = _load(0.7, 200_000, 1.0)
    work = services if spread == "exponential" else np.ones_like(services)

    found = serve_shared(arrivals, work, 500, 0, math.inf, 1, tuple(range(1, 501)))

    assert not np.isnan(found.latency_s).any()
    assert found.latency_s.mean() == pytest.approx(1 / (1 - 0.7), rel=0.05)


def test_slots_that_share_refuse_what_neither_fits_nor_comes_in_time() -> None:
    arrivals, services = _load(10, 5000, 1.0)

    short = serve_shared(arrivals, services, 4, 4, math.inf, 1, (1.0, 2.0, 3.0, 4.0))
    late = serve_shared(arrivals, services, 4, 10**9, 12.0, 1, (1.0, 2.0, 3.0, 4.0))

    assert np.isnan(short.latency_s).mean() == pytest.approx(0.9, abs=0.03)  # it does one of ten a second
    assert np.isnan(late.latency_s).mean() == pytest.approx(0.9, abs=0.03)


def test_a_plan_says_how_much_slower_full_slots_are() -> None:
    times = np.ones(10)
    alike = Part(1.0, Service(times=(1.0,)), slots=4)
    sharing = Part(1.0, Service(times=(1.0,)), slots=4, slowdown=(1.0, 1.5, 2.0, 2.5))

    plain, slower = (simulate(Plan({"a": part}, rates=(1.0,)), {"a": times})[0] for part in (alike, sharing))

    assert slower.p50_s > plain.p50_s
    assert slower.utilisation > plain.utilisation


def _overloaded(deadline_s: float, queue: int) -> Served:
    arrivals, services = _load(10, 5000, 1.0)
    return serve(arrivals, services, 2, queue, deadline_s, 1, FIXED)


def test_an_overloaded_component_refuses_what_it_cannot_do_in_time() -> None:
    found = _overloaded(deadline_s=5.0, queue=10**9)

    refused = np.isnan(found.latency_s).mean()
    assert refused == pytest.approx(0.8, abs=0.05)  # it can do 2 of 10 a second
    services = _load(10, 5000, 1.0)[1]
    waits = found.latency_s - services
    assert np.nanmax(waits) <= 4.1


def test_a_bounded_queue_bounds_the_wait() -> None:
    short, long = _overloaded(math.inf, 2), _overloaded(math.inf, 50)

    assert np.nanpercentile(short.latency_s, 99) < np.nanpercentile(long.latency_s, 50)


def test_replicas_come_when_load_does_and_go_when_it_is_over() -> None:
    busy, quiet = _load(20, 2000, 1.0), _load(0.5, 100, 1.0)
    arrivals = np.concatenate([busy[0], busy[0][-1] + quiet[0]])
    services = np.concatenate([busy[1], quiet[1]])
    scaling = Scaling(1, 40, 1.0, 0.7, 2.0)

    found = serve(arrivals, services, 1, 10**9, math.inf, 1, scaling)

    assert 20 < found.most_replicas <= 40
    assert found.replica_s < 0.5 * found.most_replicas * arrivals[-1]
    late = found.latency_s[1000:2000] - services[1000:2000]
    assert late.mean() < 2.0


def test_the_system_at_a_hundred_thousand_requests_a_second() -> None:
    part = Part(1.0, Service(p50=0.05, p99=0.2), slots=16, replicas=1, most_replicas=10_000, replica_usd_per_hour=0.36)
    plan = Plan({"small": part}, rates=(1.0, 100_000.0), most_requests=100_000)

    slow, fast = simulate(plan, {"small": service_times(part, Path())})

    assert fast.refused == 0
    assert 0.6 < fast.utilisation < 0.8
    assert fast.replicas["small"] > 400
    # One replica is $0.0001 a second: dear when it serves one request a second, cheap when it serves hundreds.
    assert slow.usd_per_1k == pytest.approx(0.1, rel=0.3)
    assert fast.usd_per_1k < 0.001


def test_log_normal_service_times_have_the_percentiles_asked_for() -> None:
    times = service_times(Part(1.0, Service(p50=0.4, p99=1.6)), Path())

    assert np.percentile(times, [50, 99]) == pytest.approx([0.4, 1.6], rel=0.02)


def test_measured_service_times_come_from_an_outcome_table(tmp_path: Path) -> None:
    table(tmp_path / "t.parquet", 100)

    times = service_times(Part(1.0, Service(table="t.parquet", model=STRONG)), tmp_path)

    assert len(times) == 100
    assert times.mean() == pytest.approx(0.2, rel=0.4)


def test_the_command_writes_its_points(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("rates: [1, 50]\nseconds: 20\ncomponents:\n  a: {share: 1.0, service_s: {times: [0.1, 0.2]}}\n")

    result = CliRunner().invoke(app, ["simulate", str(plan), "--out", str(tmp_path / "out.json")])

    assert result.exit_code == 0, result.output
    points = json.loads((tmp_path / "out.json").read_text())
    assert [point["rate"] for point in points] == [1.0, 50.0]
    assert points[1]["refused"] > 0.5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("components:\n  a: {share: 0.5, service_s: {p50: 1}}", "do not add up to 1"),
        ("components:\n  a: {share: 1, service_s: {p50: 1}, slots: 0}", "slots and replicas must be at least 1"),
        ("components:\n  a: {share: 1, service_s: {p50: 0}}", "must be above 0"),
        ("components:\n  a: {share: 1, service_s: {}}", "service_s needs"),
        ("components:\n  a: {share: 1, service_s: {p50: 1}, slot: 2}", "slot"),
        ("components:\n  a: {share: 1, service_s: {p50: 1}, slowdown: [1, 2], most_replicas: 4}", "fixed number"),
        ("components:\n  a: {share: 1, service_s: {p50: 1}, slowdown: [0]}", "slowdown must be above 0"),
        ("rates: []\ncomponents:\n  a: {share: 1, service_s: {p50: 1}}", "rates are missing"),
        ("rates: [.nan]\ncomponents:\n  a: {share: 1, service_s: {p50: 1}}", "must be finite"),
        ("seed: -1\ncomponents:\n  a: {share: 1, service_s: {p50: 1}}", "seed must not be below 0"),
        ("most_requests: 1000000000000\ncomponents:\n  a: {share: 1, service_s: {p50: 1}}", "at most 20,000,000"),
        ("components:\n  a: {share: 1, service_s: {p50: 1}, request_usd: -1}", "prices must be finite"),
        ("rates: [0]\ncomponents:\n  a: {share: 1, service_s: {p50: 1}}", "must be above 0"),
    ],
)
def test_a_plan_that_makes_no_sense_is_an_error(tmp_path: Path, text: str, says: str) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text)

    result = CliRunner().invoke(app, ["simulate", str(plan)])

    assert result.exit_code == 78
    assert says in result.output
