"""`turnout eval simulate`: what a system of components does as its load grows."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from evals import out
from evals.console import show
from evals.progress import Tell, bar, silent
from evals.simulate.config import Part, Plan, read_plan, service_times
from evals.simulate.queue import Floats, Scaling, Served, serve
from evals.simulate.shared import serve_shared

_WARM_SERVICES = 3.0
_HOUR_S = 3600.0
_PER_1K = 1000.0


@dataclass(frozen=True)
class Point:
    """The whole system at one rate.

    Attributes:
        rate: requests per second. requests, seconds: simulated.
        p50_s, p99_s: of accepted requests, once the system has filled.
        refused: part of all requests. utilisation: of the slots, 0..1.
        usd_per_1k: of served requests, replicas included. replicas: most at a time, by component.
    """

    rate: float
    requests: int
    seconds: float
    p50_s: float
    p99_s: float
    refused: float
    utilisation: float
    usd_per_1k: float
    replicas: dict[str, int]


def run(path: Path, to: Path | None) -> int:
    """Read, simulate, print; write JSON where it is wanted. Returns the exit code."""
    plan = read_plan(path)
    times = {name: service_times(part, path.parent) for name, part in plan.components.items()}
    if to is not None:
        out.file(to)
    with bar(len(plan.rates)) as tell:
        points = simulate(plan, times, tell)
    show(_table(points))
    if to is not None:
        to.write_text(json.dumps([_finite(asdict(point)) for point in points], indent=1) + "\n", encoding="utf-8")
    return 0


def simulate(plan: Plan, times: dict[str, Floats], tell: Tell = silent) -> list[Point]:
    """Every rate of the plan, by itself.

    Args:
        plan: what to simulate. times: by component, service times to draw from.
        tell: told before each rate.
    """
    points = []
    for rate in plan.rates:
        tell(f"{rate:g} requests/s")
        points.append(_point(plan, times, rate))
    return points


def _point(plan: Plan, times: dict[str, Floats], rate: float) -> Point:
    rng = np.random.default_rng(plan.seed)
    n = int(np.clip(rate * plan.seconds, 1, plan.most_requests))
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    shares = [part.share for part in plan.components.values()]
    goes_to = rng.choice(len(shares), size=n, p=np.array(shares) / sum(shares))
    # The system begins empty: until it has filled, answers come faster than they will.
    cold_s = min(_WARM_SERVICES * max(float(drawn.mean()) for drawn in times.values()), float(arrivals[-1]) / 2)
    found: dict[str, Served] = {}
    warm: dict[str, Floats] = {}
    for at, (name, part) in enumerate(plan.components.items()):
        mine = arrivals[goes_to == at]
        services = rng.choice(times[name], size=len(mine))
        begin = part.replicas if plan.cold else _settled(part, rate, float(times[name].mean()), plan.busy)
        found[name] = served(plan, part, mine, services, begin)
        warm[name] = found[name].latency_s[mine >= cold_s]
    latencies = np.concatenate(list(warm.values()))
    latencies = latencies[np.isfinite(latencies)]
    answered = {name: int(np.isfinite(one.latency_s).sum()) for name, one in found.items()}
    accepted = sum(answered.values())
    usd = sum(
        answered[name] * part.request_usd + found[name].replica_s / _HOUR_S * part.replica_usd_per_hour
        for name, part in plan.components.items()
    )
    capacity = sum(one.capacity_s for one in found.values())
    return Point(
        rate=rate,
        requests=n,
        seconds=float(arrivals[-1]),
        p50_s=float(np.percentile(latencies, 50)) if len(latencies) else math.nan,
        p99_s=float(np.percentile(latencies, 99)) if len(latencies) else math.nan,
        refused=1 - accepted / n,
        utilisation=min(1.0, sum(one.busy_s for one in found.values()) / capacity) if capacity else 0.0,
        usd_per_1k=usd / accepted * _PER_1K if accepted else math.nan,
        replicas={name: one.most_replicas for name, one in found.items()},
    )


def served(plan: Plan, part: Part, arrivals: Floats, services: Floats, begin: int) -> Served:
    """What comes of these requests at one component that begins with so many replicas."""
    if part.slowdown:
        return serve_shared(arrivals, services, part.slots, part.queue, plan.deadline_s, part.replicas, part.slowdown)
    scaling = Scaling(part.replicas, part.most_replicas or part.replicas, plan.scale_every_s, plan.busy, part.start_s)
    return serve(arrivals, services, part.slots, part.queue, plan.deadline_s, begin, scaling)


def _settled(part: Part, rate: float, mean_s: float, busy: float) -> int:
    """Replicas that keep the wanted part of their slots in use at this rate."""
    if part.most_replicas is None:
        return part.replicas
    return int(np.clip(np.ceil(rate * part.share * mean_s / (part.slots * busy)), part.replicas, part.most_replicas))


def _table(points: list[Point]) -> Table:
    table = Table(title="simulated; times of accepted requests")
    for heading in ("requests/s", "p50 s", "p99 s", "refused", "in use", "$ per 1K", "replicas"):
        table.add_column(heading, justify="right")
    for p in points:
        replicas = ", ".join(f"{name} {count:,}" for name, count in p.replicas.items())
        table.add_row(
            f"{p.rate:,g}",
            f"{p.p50_s:.3f}",
            f"{p.p99_s:.3f}",
            f"{p.refused:.2%}",
            f"{p.utilisation:.0%}",
            f"{p.usd_per_1k:.4f}",
            replicas,
        )
    return table


def _finite(values: dict[str, object]) -> dict[str, object]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
