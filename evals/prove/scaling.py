"""Change the number of instances under load, put a component to sleep and wake it, and count what clients saw.

    python -m evals.prove.scaling [--requests N] [--clients N] [--wakes N] [--out FILE]

Three parts: 1 -> 3 -> 1 instances by order while requests run, with the balance over the three; the autoscaler up and
down by itself; asleep and woken by a request. Exit code 1 when a request failed, was cut off or the numbers never came.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openai import AsyncOpenAI
from rich.console import Console

from evals.prove.load import Load
from evals.prove.models import shipped
from evals.prove.system import COMPONENT, System, catalog, running
from evals.prove.tally import Tally, tally
from evals.prove.verdict import Findings, conclude, options

_IDLE_S = 2.0
_MOST = 3


@dataclass
class Report(Findings):
    """What was found. Times are seconds.

    Attributes:
        shares: of the requests that each of three instances took; a third each would be the ideal.
        up_s, down_s: how long the autoscaler took from the begin of the load to three, from its end to one.
        first_token_s: of requests that woke the component.
    """

    ordered: Tally
    shares: list[float]
    scaled: Tally
    up_s: float
    down_s: float
    first_token_s: list[float]


async def by_order(system: System, requests: int, clients: int) -> tuple[Tally, list[float]]:
    """1 -> 3 -> 1 under load."""
    await system.apply(catalog(shipped(), slots=2, replicas=(1, _MOST)))
    load = Load(system.url, COMPONENT, clients, 12)
    async with load.running():
        await load.until(requests // 4)
        await system.scale(_MOST)
        before = _requests(system)
        await load.until(len(load.outcomes) + requests // 2)
        took = {name: count - before.get(name, 0) for name, count in _requests(system).items()}
        await system.scale(1)
        await load.until(len(load.outcomes) + requests // 4)
    total = sum(took.values()) or 1
    return tally(load.outcomes, shipped().name, ()), [round(count / total, 3) for count in sorted(took.values())]


async def by_load(system: System, clients: int) -> tuple[Tally, float, float]:
    """The autoscaler alone: up while there is a crowd, down when it has gone."""
    await system.apply(catalog(shipped(), slots=1, replicas=(1, _MOST)))
    await system.until_serving(1)
    load = Load(system.url, COMPONENT, clients, 40)
    async with load.running():
        up_s = await system.until_serving(_MOST)
    down_s = await system.until_serving(1, 600)
    return tally(load.outcomes, shipped().name, ()), up_s, down_s


async def from_sleep(system: System, wakes: int) -> list[float]:
    """The time to the first token of requests that find the component asleep."""
    sleepy = catalog(shipped(), slots=1, replicas=(0, 1))
    sleepy["components"][COMPONENT]["replicas"]["idle_s"] = _IDLE_S
    await system.apply(sleepy)
    found: list[float] = []
    async with AsyncOpenAI(base_url=f"{system.url}/v1", api_key="unused", max_retries=0, timeout=120) as client:
        for _ in range(wakes):
            await system.until_gone()
            began_s = time.monotonic()
            stream = await client.chat.completions.create(
                model=COMPONENT, messages=[{"role": "user", "content": "Hello"}], max_tokens=4, stream=True
            )
            first_s = None
            async for chunk in stream:
                if first_s is None and chunk.choices and chunk.choices[0].delta.content:
                    first_s = time.monotonic() - began_s
            if first_s is not None:
                found.append(round(first_s, 3))
    return sorted(found)


def _requests(system: System) -> dict[str, int]:
    return {beat["instance"]: beat["totals"].get("requests", 0) for beat in system.serving()}


async def prove(system: System, requests: int, clients: int, wakes: int, say: Console) -> Report:
    """All three parts."""
    ordered, shares = await by_order(system, requests, clients)
    say.print(f"1 -> 3 -> 1: {ordered}", style="dim", markup=False)
    scaled, up_s, down_s = await by_load(system, clients)
    say.print(f"autoscaled: {scaled}", style="dim", markup=False)
    report = Report(ordered, shares, scaled, round(up_s, 2), round(down_s, 2), await from_sleep(system, wakes))
    for part, counted in (("1 -> 3 -> 1", ordered), ("autoscaled", scaled)):
        if not counted.clean:
            report.problems.append(f"{part}: {counted}")
    if len(report.first_token_s) < wakes:
        report.problems.append(f"{wakes - len(report.first_token_s)} of {wakes} requests found nobody awake")
    return report


def show(report: Report, console: Console) -> None:
    """The report in words."""
    times = report.first_token_s or [0.0]
    console.print(
        f"1 -> 3 -> 1: {report.ordered.requests} requests, {report.ordered.failed} failed; over three instances "
        f"{', '.join(f'{share:.1%}' for share in report.shares)} (ideal: 33.3% each)\n"
        f"autoscaled: {report.scaled.requests} requests, {report.scaled.failed} failed; three after "
        f"{report.up_s:.1f} s, one again {report.down_s:.0f} s after the last request\n"
        f"woken {len(report.first_token_s)} times: first token after {times[len(times) // 2]:.2f} s "
        f"(at most {times[-1]:.2f} s)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = options("scaling", __doc__, clients=8)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--wakes", type=int, default=5)
    given = parser.parse_args(arguments)
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="turnout-prove-") as name,
        running(Path(name), catalog(shipped())) as system,
    ):
        report = asyncio.run(prove(system, given.requests, given.clients, given.wakes, console))
    show(report, console)
    return conclude(report, given.out, console)


if __name__ == "__main__":
    sys.exit(main())
