"""`turnout eval check-simulate`: the simulation beside the running system, under the same load.

One component is measured alone, and with its slots filled; then requests are sent at other rates, at random moments.
Before and after each rate it is measured, since a machine is not as fast at all times. From both measurements the
simulation says what should have happened to requests that arrive at those very moments, and both are printed side by
side. How long each takes is drawn from what was measured, again and again, to see what chance alone would do in so
short a run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from evals import out
from evals.console import show
from evals.progress import Tell, bar
from evals.simulate.config import Part, Plan, Service
from evals.simulate.probe import Measured, Place, Probe, probing
from evals.simulate.queue import Floats
from evals.simulate.run import served
from services.contracts.errors import ConfigError
from services.controller.client import Client

LOADS = (0.3, 0.6, 0.8, 0.95, 1.3)
REPEATS = 200
_WARM_CALLS = 4
_WARM_SERVICES = 3.0
_SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Figures:
    """One run, measured or simulated. Times in seconds, of what was answered; shares 0..1."""

    p50_s: float
    p99_s: float
    refused: float
    in_use: float


@dataclass(frozen=True)
class Compared:
    """One rate: what was seen, the median of what was simulated, and where 90 % of the simulated runs are."""

    load: float
    rate: float
    requests: int
    measured: Figures
    simulated: Figures
    low: Figures
    high: Figures


@dataclass(frozen=True)
class Alone:
    """How a component is by itself.

    Attributes:
        service_s: with it, of one request at a time. slowdown: how much longer more at once take.
        around_s: what is on top for the client: the gateway and the bus, while no slot is held.
    """

    place: Place
    service_s: Floats
    slowdown: tuple[float, ...]
    around_s: float = 0.0

    @property
    def rate(self) -> float:
        """Requests per second that keep every slot in use."""
        return self.place.slots * self.place.replicas / (float(self.service_s.mean()) * self.slowdown[-1])

    def towards(self, later: Alone, part: float) -> Alone:
        """As it was after this part, 0..1, of the time from this measurement to a later one."""
        slowdown = tuple(a + part * (b - a) for a, b in zip(self.slowdown, later.slowdown, strict=True))
        begin, end = (np.sort(one.service_s) for one in (self, later))
        ranks = np.linspace(0, 1, max(len(begin), len(end)))
        begin, end = np.quantile(begin, ranks), np.quantile(end, ranks)
        around_s = self.around_s + part * (later.around_s - self.around_s)
        return Alone(self.place, begin + part * (end - begin), slowdown, around_s)

    def as_json(self) -> dict[str, Any]:
        """Times in seconds."""
        times = {"service_s": self.service_s.round(6).tolist(), "slowdown": self.slowdown}
        return {**times, "around_s": self.around_s, "full_at_rate": self.rate}


def run(url: str, component: str, loads: Sequence[float], seconds: float, calls: int, to: Path | None) -> int:
    """Measure, simulate, print. Exit code 1 if a request got neither an answer nor a refusal."""
    if not loads or min(loads) <= 0:
        raise ConfigError("a load must be above 0")
    if to is not None:
        out.file(to)
    runs: list[tuple[float, Floats, Measured]] = []
    measurements: list[Alone] = []

    async def work(probe: Probe) -> None:
        with bar(3 * len(loads) + 3) as tell:
            measurements.append(await measure(probe, calls, tell))
            for number, load in enumerate(loads):
                rate = load * measurements[-1].rate
                tell(f"{rate:.3g} requests/s")
                arrivals = arrivals_of(rate, seconds, np.random.default_rng(number))
                runs.append((rate, arrivals, await probe.open(arrivals)))
                measurements.append(await measure(probe, calls, tell))
            tell("simulating")

    probing(Client.make(url), component, work)
    found = [compared(*load, *around) for load, around in zip(runs, pairwise(measurements), strict=True)]
    _tell_alone(component, measurements)
    show(_table(component, found))
    failed = [error for _, _, seen in runs for error in seen.failed]
    for error in failed[:_SHOWN_FAILURES]:
        Console(stderr=True).print(f"failed: {error}", markup=False)
    if to is not None:
        report = {
            "component": component,
            **asdict(measurements[0].place),
            "measurements": [one.as_json() for one in measurements],
            "rates": [asdict(one) for one in found],
        }
        to.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


async def measure(probe: Probe, calls: int, tell: Tell) -> Alone:
    """The component with one request at a time, then with 2, 4, … and all slots filled."""
    place = await probe.place()
    tell("one at a time")
    await probe.closed(1, _WARM_CALLS)
    whole_s, service_s = await probe.alone(calls)
    around_s = float(np.median(whole_s - service_s))
    tell("several at once")
    known = {1: 1.0}
    for inside in levels(place.slots):
        took_s = await probe.closed(inside * place.replicas, max(calls, 8 * inside * place.replicas))
        known[inside] = float((took_s.mean() - around_s) / service_s.mean())
    points = sorted(known)
    slowdown = np.interp(np.arange(1, place.slots + 1), points, [known[point] for point in points])
    return Alone(place, service_s, tuple(np.maximum(slowdown, 1e-3).tolist()), around_s)


def levels(slots: int) -> list[int]:
    """How many at once to measure: powers of two, and all."""
    return sorted({2**power for power in range(1, slots.bit_length()) if 2**power <= slots} | ({slots} - {1}))


def arrivals_of(rate: float, seconds: float, rng: np.random.Generator) -> Floats:
    """Poisson arrivals, seconds from the beginning; at least one."""
    return np.cumsum(rng.exponential(1 / rate, max(1, round(rate * seconds))))


def compared(rate: float, arrivals: Floats, measured: Measured, before: Alone, after: Alone) -> Compared:
    """What was seen beside what the simulation makes of requests that arrive at the same moments.

    How fast the machine was between the two measurements is not known: each simulated run takes another point.
    """
    place, middle = before.place, before.towards(after, 0.5)
    cold_s = _WARM_SERVICES * float(middle.service_s.mean())
    runs = []
    for seed in range(REPEATS):
        rng = np.random.default_rng(1000 + seed)
        alone = before.towards(after, rng.uniform())
        # What was measured alone is a sample, too: another one would have been as good.
        sample = rng.choice(alone.service_s, size=len(alone.service_s))
        service = Service(times=tuple(sample.tolist()))
        part = Part(1.0, service, place.slots, alone.slowdown, place.replicas, queue=place.queue)
        plan = Plan({"": part}, deadline_s=math.inf)
        done = served(plan, part, arrivals, rng.choice(sample, size=len(arrivals)), place.replicas)
        runs.append(figures(arrivals, done.latency_s + alone.around_s, done.busy_s / done.capacity_s, cold_s))
    median, low, high = (_quantile(runs, rank) for rank in (0.5, 0.05, 0.95))
    seen = figures(arrivals, measured.latency_s, measured.in_use, cold_s)
    return Compared(rate / middle.rate, rate, len(arrivals), seen, median, low, high)


def figures(arrivals: Floats, latency_s: Floats, in_use: float, cold_s: float) -> Figures:
    """The figures of one run, without those that came while it filled."""
    warm = latency_s[arrivals >= min(cold_s, float(arrivals[-1]) / 2)]
    answered = warm[np.isfinite(warm)]
    p50_s, p99_s = np.percentile(answered, (50, 99)) if len(answered) else (math.nan, math.nan)
    return Figures(float(p50_s), float(p99_s), float(np.isnan(latency_s).mean()), in_use)


def _quantile(runs: Sequence[Figures], rank: float) -> Figures:
    rows = np.array([(run.p50_s, run.p99_s, run.refused, run.in_use) for run in runs])
    return Figures(*np.nanquantile(rows, rank, axis=0).tolist())


def _tell_alone(component: str, measurements: Sequence[Alone]) -> None:
    place, rates = measurements[0].place, [one.rate for one in measurements]
    p50_s, p99_s = np.percentile(np.concatenate([one.service_s for one in measurements]), (50, 99))
    slower = ", ".join(f"{factor:.2f}" for factor in np.mean([one.slowdown for one in measurements], axis=0)[:8])
    around_s = float(np.mean([one.around_s for one in measurements]))
    Console().print(
        f"{component}: {place.replicas} x {place.slots} slots, queue of {place.queue}; "
        f"alone p50 {p50_s:.3f} s, p99 {p99_s:.3f} s, and {around_s * 1000:.1f} ms around it; "
        f"times as long with 1, 2, … at once: {slower}; full at {min(rates):.3g} to {max(rates):.3g}/s "
        f"in {len(rates)} measurements",
        highlight=False,
        soft_wrap=True,
    )


def _table(component: str, found: Sequence[Compared]) -> Table:
    table = Table(title=f"{component}: measured | simulated [90 % of simulated runs]")
    for heading in ("load", "requests/s", "requests", "p50 s", "p99 s", "refused", "in use"):
        table.add_column(heading, justify="right")
    for one in found:
        seen, said, low, high = one.measured, one.simulated, one.low, one.high
        table.add_row(
            f"{one.load:.0%}",
            f"{one.rate:.3g}",
            f"{one.requests:,}",
            f"{seen.p50_s:.3f} | {said.p50_s:.3f} [{low.p50_s:.3f}, {high.p50_s:.3f}]",
            f"{seen.p99_s:.3f} | {said.p99_s:.3f} [{low.p99_s:.3f}, {high.p99_s:.3f}]",
            f"{seen.refused:.1%} | {said.refused:.1%} [{low.refused:.1%}, {high.refused:.1%}]",
            f"{seen.in_use:.0%} | {said.in_use:.0%} [{low.in_use:.0%}, {high.in_use:.0%}]",
        )
    return table
