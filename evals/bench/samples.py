"""What was measured, and the pure arithmetic on it: medians, spreads, ratios within a round, targets."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

MOCK = "mock"
TURNOUT = "turnout"
TURNOUT_AUTO = "turnout auto"
LITELLM = "litellm"

LEAST_SPEED = 6.0
MOST_ADDED = 1 / 3
MOST_ADDED_FIRST = 1.0
TARGETS = 3

ANSWERS_EACH = 12

HIGHER_IS_BETTER = frozenset({"rps", "streams_s"})


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of load. `connections` requests are in flight at any time, the next as soon as one has ended."""

    name: str
    connections: int
    streamed: bool


LOADS = (
    Load("c1", 1, streamed=False),
    Load("c16", 16, streamed=False),
    Load("c64", 64, streamed=False),
    Load("s16", 16, streamed=True),
    Load("s64", 64, streamed=True),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One system under one load in one round.

    Attributes:
        values: `rps` or `streams_s` (per second); `p50_ms`, `p99_ms` or `ttft_p50_ms`, `ttft_p99_ms`; `cpu_ms`, the
            processor time of all the system's processes for one request.
        cpu_ms: the same processor time by process.
        load_average: of the machine, over one minute, when the sample ended.
    """

    round: int
    system: str
    load: str
    values: dict[str, float]
    cpu_ms: dict[str, float] = field(default_factory=dict)
    load_average: float = 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """The rounds of one figure."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])


@dataclass(frozen=True, slots=True)
class Target:
    """A promise, and what became of it. `measured` has the ratio of every round."""

    name: str
    wanted: str
    measured: Spread
    met: bool


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0..1) of `values` do not exceed, by the nearest rank.

    Raises:
        ValueError: there are no values, or the share is not within 0..1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("a quantile needs values, and a share from 0 to 1")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def long_enough_s(seconds: float, connections: int, answers_per_s: float, most_s: float) -> float:
    """How long to load a system so that the requests still under way at the end, which nobody counts, do not matter.

    wrk drops up to one request a connection: with `ANSWERS_EACH` counted ones that is at most a twelfth of the figure,
    and half of that in the mean. Without this a slow system would look slower than it is.
    """
    if answers_per_s <= 0:
        return most_s
    return min(max(seconds, connections * ANSWERS_EACH / answers_per_s), max(seconds, most_s))


def spreads(samples: Iterable[Sample]) -> dict[tuple[str, str], dict[str, Spread]]:
    """The figures of every (system, load) over the rounds."""
    grouped: dict[tuple[str, str], dict[str, list[float]]] = {}
    for sample in samples:
        into = grouped.setdefault((sample.system, sample.load), {})
        for metric, value in sample.values.items():
            into.setdefault(metric, []).append(value)
    return {key: {metric: Spread.of(values) for metric, values in metrics.items()} for key, metrics in grouped.items()}


def per_round(samples: Sequence[Sample], load: str, metric: str, compare: Callable[[_Round], float]) -> list[float]:
    """`compare` for each round that has what it needs: noise that hits a whole round then cancels out."""
    rounds: dict[int, dict[str, float]] = {}
    for sample in samples:
        if sample.load == load and metric in sample.values:
            rounds.setdefault(sample.round, {})[sample.system] = sample.values[metric]
    complete = (_Round(metric, systems) for _, systems in sorted(rounds.items()))
    return [compare(one) for one in complete if one.complete]


@dataclass(frozen=True, slots=True)
class _Round:
    """One metric of one load in one round, by system."""

    metric: str
    systems: dict[str, float]

    @property
    def complete(self) -> bool:
        return MOCK in self.systems and bool(self._of(TURNOUT)) and bool(self._of(LITELLM))

    @property
    def mock(self) -> float:
        return self.systems[MOCK]

    @property
    def turnout(self) -> float:
        """The worse of Turnout's ways: named component, and `auto`."""
        values = self._of(TURNOUT)
        return min(values) if self.metric in HIGHER_IS_BETTER else max(values)

    @property
    def litellm(self) -> float:
        """The best of LiteLLM's setups."""
        values = self._of(LITELLM)
        return max(values) if self.metric in HIGHER_IS_BETTER else min(values)

    def _of(self, family: str) -> list[float]:
        return [value for name, value in self.systems.items() if name.split(" ")[0] == family]


def targets(samples: Sequence[Sample]) -> list[Target]:
    """The promises that can be judged from these samples. A ratio is taken within a round, then the median of them."""
    speed = per_round(samples, "c16", "rps", lambda r: r.turnout / r.litellm)
    added = per_round(samples, "c1", "p50_ms", _added_share)
    first = per_round(samples, "s16", "ttft_p99_ms", _added_share)
    found: list[Target] = []
    if speed:
        spread = Spread.of(speed)
        met = spread.median >= LEAST_SPEED
        found.append(Target("requests/s with 16 connections, in LiteLLM's", f">= {LEAST_SPEED:g}", spread, met))
    if added:
        spread = Spread.of(added)
        met = spread.median <= MOST_ADDED
        found.append(Target("added p50 with 1 connection, in LiteLLM's", f"<= {MOST_ADDED:.2f}", spread, met))
    if first:
        spread = Spread.of(first)
        met = spread.median < MOST_ADDED_FIRST
        found.append(Target("added TTFT p99 with 16 streams, in LiteLLM's", f"< {MOST_ADDED_FIRST:g}", spread, met))
    return found


def _added_share(one: _Round) -> float:
    """What we add in units of what they add. They cannot add nothing: then the measurement is worth nothing."""
    theirs = one.litellm - one.mock
    return (one.turnout - one.mock) / theirs if theirs > 0 else math.inf
