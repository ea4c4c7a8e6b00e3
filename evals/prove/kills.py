"""Kill instances in the middle of what they write, and count from the client's side what that did.

    python -m evals.prove.kills [--kills N] [--instances N] [--clients N] [--out FILE] [--freeze-every N]

Every stream must be whole or end with an explicit error; the report says how many went on with another instance. Every
so often an instance is frozen (SIGSTOP) in place of killed, which only its silence tells: the time until it is found is
measured. Exit code 1 when a stream was cut off without a word, or a frozen instance was found too late.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from evals.prove.load import Load
from evals.prove.models import shipped
from evals.prove.system import COMPONENT, System, catalog, running
from evals.prove.verdict import Findings, conclude, options

_FOUND_WITHIN_S = 2.0
_POLL_S = 0.02
_PROMPTS = (
    "Write a long story about a fox who lives near a river.",
    "Write a long story about a train that is never late.",
    "Describe a garden in spring, in many sentences.",
)


@dataclass
class Report(Findings):
    """What became of the streams. `in_flight`: how many were being written at the end of an instance, summed up."""

    kills: int
    freezes: int
    streams: int
    in_flight: int
    continued: int
    failed_openly: int
    truncated: int
    broken_off: int
    wrong_model: int
    found_after_s: list[float]


async def prove(system: System, kills: int, instances: int, load: Load, freeze_every: int, say: Console) -> Report:
    """Kill so many under load."""
    chance = random.Random(0)  # noqa: S311 - who is killed is no secret
    before = system.metric("turnout_streams_resumed_total")
    in_flight, found_after_s = 0, []
    async with load.running():
        for number in range(1, kills + 1):
            await system.until_serving(instances)
            victim = await _busy(system, chance)
            in_flight += victim["in_use"]
            freeze = freeze_every > 0 and number % freeze_every == 0
            os.kill(victim["pid"], signal.SIGSTOP if freeze else signal.SIGKILL)
            if freeze:
                found_after_s.append(await _found(system, victim))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim["pid"], signal.SIGKILL)
            say.print(f"{number} of {kills}: {victim['instance']} with {victim['in_use']} streams", style="dim")
    model = shipped().name
    ended = load.outcomes
    report = Report(
        kills=kills,
        freezes=len(found_after_s),
        streams=len(ended),
        in_flight=in_flight,
        continued=round(system.metric("turnout_streams_resumed_total") - before),
        failed_openly=sum(bool(o.error) and o.explicit for o in ended),
        truncated=sum(not o.error and not o.whole for o in ended),
        broken_off=sum(bool(o.error) and not o.explicit for o in ended),
        wrong_model=sum(not o.error and o.model != model for o in ended),
        found_after_s=[round(it, 3) for it in sorted(found_after_s)],
    )
    for what in ("truncated", "broken_off", "wrong_model"):
        if count := getattr(report, what):
            report.problems.append(f"{count} of {report.streams} streams: {what.replace('_', ' ')}")
    report.problems += [
        f"a frozen instance was found after {it:.2f} s" for it in report.found_after_s if it > _FOUND_WITHIN_S
    ]
    say.print(sorted({o.error for o in ended if o.error}), style="dim", markup=False)
    return report


async def _busy(system: System, chance: random.Random) -> dict[str, Any]:
    """One of those that are writing something now."""
    while True:
        busy = [beat for beat in await asyncio.to_thread(system.serving) if beat["in_use"]]
        if busy:
            return chance.choice(busy)
        await asyncio.sleep(_POLL_S)


async def _found(system: System, victim: dict[str, Any]) -> float:
    """How long the gateway goes on taking a frozen instance for alive, seconds."""
    began_s = time.monotonic()
    while True:
        now = (await asyncio.to_thread(system.instances)).get(victim["instance"])
        if now is None or now["pid"] != victim["pid"]:
            return time.monotonic() - began_s
        await asyncio.sleep(_POLL_S)


def show(report: Report, console: Console) -> None:
    """The report in words."""
    console.print(
        f"{report.kills} instances ended while they wrote ({report.freezes} of them frozen) and hit {report.streams} "
        f"streams {report.in_flight} times; {report.continued} times another instance went on, {report.failed_openly} "
        f"streams ended with an explicit error, {report.truncated + report.broken_off} without a word"
    )
    if times := report.found_after_s:
        console.print(f"a frozen instance was found after {times[len(times) // 2]:.2f} s (at most {times[-1]:.2f} s)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = options("kills", __doc__, clients=6)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--instances", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=80)
    parser.add_argument("--freeze-every", type=int, default=5, help="freeze every so manieth in place of killing it")
    given = parser.parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="turnout-prove-") as name:
        configuration = catalog(shipped(), replicas=(given.instances, given.instances))
        with running(Path(name), configuration) as system:
            load = Load(system.url, COMPONENT, given.clients, given.max_tokens, streams_only=True, prompts=_PROMPTS)
            report = asyncio.run(prove(system, given.kills, given.instances, load, given.freeze_every, console))
    show(report, console)
    return conclude(report, given.out, console)


if __name__ == "__main__":
    sys.exit(main())
