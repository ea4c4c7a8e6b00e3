"""What is simulated: components with their service times, slots, replicas and prices, and the load on them.

rates: [1, 10, 100, 1000]         # requests per second, each a run of its own
seconds: 60                       # simulated time of a run; shortened where it would exceed most_requests
deadline_s: 10                    # an answer that is expected later is refused at once
components:
  small:
    share: 0.7                    # of the requests; the shares add up to 1
    service_s: {p50: 0.4, p99: 1.6}            # log-normal; or {times: [0.3, 0.5]}; or
                                               # {table: outcomes.parquet, model: gpt-4}: as they were measured
    slots: 4                      # requests at once, per replica
    slowdown: [1, 1.3, 1.6, 2]    # times as long as alone with 1, 2, … of them; leave it out where they do not share
    replicas: 2
    most_replicas: 64             # leave it out for no autoscaling
    start_s: 8                    # until a new replica serves
    queue: 32                     # most requests that wait, per replica
    request_usd: 0.0
    replica_usd_per_hour: 0.05
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from evals.yaml_file import read_yaml
from services.contracts.errors import ConfigError

MOST_REQUESTS = 20_000_000  # of them a run keeps some arrays in memory, 8 bytes a request each
_SUM_TOLERANCE = 1e-6
_Z99 = 2.3263478740408408


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Service times, seconds, in one of three ways."""

    p50: float | None = None
    p99: float | None = None
    times: tuple[float, ...] = ()
    table: str | None = None
    model: str | None = None


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One component."""

    share: float
    service_s: Service
    slots: int = 1
    slowdown: tuple[float, ...] = ()
    replicas: int = 1
    most_replicas: int | None = None
    start_s: float = 5.0
    queue: int = 32
    request_usd: float = 0.0
    replica_usd_per_hour: float = 0.0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        cold: begin with `replicas`; otherwise with what autoscaling would have settled on.
        scale_every_s, busy: how often replicas are counted again, and which part of the slots should be in use.
    """

    components: dict[str, Part]
    rates: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0)
    seconds: float = 60.0
    deadline_s: float = 30.0
    most_requests: int = 1_000_000
    cold: bool = False
    scale_every_s: float = 1.0
    busy: float = 0.7
    seed: int = 0


def read_plan(path: Path) -> Plan:
    """The plan of a YAML file.

    Raises:
        ConfigError: the file cannot be read or makes no sense; says why.
    """
    plan = read_yaml(path, Plan, "a simulation")
    if problem := _problem(plan):
        raise ConfigError(f"{path}: {problem}")
    return plan


def _problem(plan: Plan) -> str | None:
    found = _of_the_whole(plan)
    return found or next(
        (f"{name}: {why}" for name, part in plan.components.items() if (why := _of_a_part(part))), None
    )


def _of_the_whole(plan: Plan) -> str | None:
    numbers = (*plan.rates, plan.seconds, plan.deadline_s, plan.scale_every_s)
    broken = (
        (not plan.rates, "rates are missing"),
        (
            not abs(sum(part.share for part in plan.components.values()) - 1) <= _SUM_TOLERANCE,
            "the shares of the components do not add up to 1",
        ),
        (not np.isfinite(numbers).all(), "rates, seconds, deadline_s and scale_every_s must be finite"),
        (
            min((*numbers, plan.most_requests)) <= 0,
            "rates, seconds, deadline_s, scale_every_s and most_requests must be above 0",
        ),
        (plan.most_requests > MOST_REQUESTS, f"most_requests must be at most {MOST_REQUESTS:,}"),
        (plan.seed < 0, "seed must not be below 0"),
        (not 0 < plan.busy < 1, "busy must be between 0 and 1"),
    )
    return next((why for is_so, why in broken if is_so), None)


def _of_a_part(part: Part) -> str | None:
    least = (part.start_s, part.request_usd, part.replica_usd_per_hour)
    broken = (
        (
            part.slots < 1 or part.replicas < 1 or part.queue < 0 or not 0 <= part.share <= 1,
            "slots and replicas must be at least 1, queue at least 0, share within 0..1",
        ),
        (not (np.isfinite(least).all() and min(least) >= 0), "start_s and prices must be finite and not below 0"),
        (part.most_replicas is not None and part.most_replicas < part.replicas, "most_replicas is less than replicas"),
        (
            bool(part.slowdown) and (part.most_replicas or part.replicas) != part.replicas,
            "slowdown goes with a fixed number of replicas, without most_replicas",
        ),
        (not min(part.slowdown, default=1.0) > 0, "slowdown must be above 0"),
    )
    return next((why for is_so, why in broken if is_so), None)


def service_times(part: Part, base: Path) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Service times to draw from, seconds.

    Args:
        part: the component. base: folder that a table's path is relative to.

    Raises:
        ConfigError: nothing was measured, or times are not above 0.
    """
    service = part.service_s
    if service.table is not None:
        times = _measured(base / service.table, service.model)
    elif service.times:
        times = np.array(service.times, dtype=float)
    elif service.p50 is not None:
        spread = np.log(max(service.p99 or service.p50, service.p50) / service.p50) / _Z99 if service.p50 > 0 else 0.0
        ranks = (np.arange(10_000) + 0.5) / 10_000
        times = service.p50 * np.exp(spread * _normal_quantile(ranks))
    else:
        raise ConfigError("service_s needs p50, times, or a table")
    if not len(times) or not np.isfinite(times).all() or times.min() <= 0:
        raise ConfigError("service times must be above 0")
    return times


def _measured(path: Path, model: str | None) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    from evals.outcomes.read import read_table  # noqa: PLC0415 - polars, only where a table is named

    frame = read_table(path).frame.drop_nulls("latency_s")
    rows = frame if model is None else frame.filter(frame["model"] == model)
    if rows.is_empty():
        raise ConfigError(f"{path}: no measured latency of {model or 'any model'}")
    return np.asarray(rows["latency_s"].to_numpy(), dtype=float)


def _normal_quantile(
    ranks: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    from scipy.special import ndtri  # noqa: PLC0415 - only for log-normal times

    return np.asarray(ndtri(ranks))
