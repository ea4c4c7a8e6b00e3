"""`make bench-gateway`: requests/s and latency of Turnout and of LiteLLM's proxy before the same mock upstream.

Rounds go over all systems in turn, load by load, so that a busy minute of the machine strikes all of them; ratios are
taken within a round. Any wrong or failed answer ends the run.

    python -m evals.bench.gateway [--quick] [--check] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from evals.bench import machine, rival, systems, wrk
from evals.bench.children import BenchError, await_ready, child, clean_environment, folder_for, free_port
from evals.bench.report import FLOOR, Floor, Report, show
from evals.bench.samples import (
    LITELLM,
    LOADS,
    MOCK,
    TARGETS,
    TURNOUT,
    Load,
    Sample,
    Spread,
    long_enough_s,
    spreads,
    targets,
)
from evals.bench.systems import KEY_VARIABLE, System
from evals.bench.telling import telling
from evals.progress import Tell

BENCH_DIR = Path(".bench")
_LITELLM_WORKERS = (1, 2)
_WARM_UP_LOAD = Load("warm-up", 16, streamed=False)
_WARM_UP_STREAMS = Load("warm-up", 16, streamed=True)
_PAUSE_S = 0.3
_EXIT_MISSED, _EXIT_FAILED = 1, 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure, and of what."""

    rounds: int
    seconds: float
    warm_up_s: float
    families: frozenset[str]
    loads: tuple[Load, ...]


@dataclass
class Bench:
    """A run. Its systems are up while `measured` works."""

    plan: Plan
    generator: wrk.Wrk
    key: str
    tell: Tell
    folder: Path
    sizes: dict[str, int] = field(default_factory=dict)
    paces: dict[str, float] = field(default_factory=dict)

    def run(self) -> tuple[list[Sample], Floor | None]:
        """Start everything, warm it up, measure, stop everything."""
        with ExitStack() as stack:
            subjects = self._start(stack)
            floor_url = stack.enter_context(self._floor_server())
            for subject in subjects:
                self.tell(f"warming up {subject.name}")
                self.sizes[subject.name] = subject.check(self.key)
                for load in (_WARM_UP_LOAD, _WARM_UP_STREAMS):
                    self._values(subject, load, self.plan.warm_up_s)
            samples: list[Sample] = []
            graph_ms: list[float] = []
            for number in range(1, self.plan.rounds + 1):
                for load in self.plan.loads:
                    for subject in subjects:
                        self.tell(f"round {number} of {self.plan.rounds}: {load.name} on {subject.name}")
                        samples.append(self._sample(subject, load, number))
                self.tell(f"round {number} of {self.plan.rounds}: the floor")
                samples.append(self._floor_sample(floor_url, number))
                graph_ms.append(self._graph_ms())
        return samples, _floor(samples, graph_ms)

    def _start(self, stack: ExitStack) -> list[System]:
        families = self.plan.families
        binary = (
            rival.ensure(rival.LITELLM, BENCH_DIR / "litellm", self.tell).absolute() if LITELLM in families else None
        )
        upstream = stack.enter_context(systems.mock(self.folder, self.tell))
        subjects = [upstream]
        if TURNOUT in families:
            subjects += stack.enter_context(systems.turnout(self.folder, upstream.url, self.key, self.tell))
        if binary is not None:
            for workers in _LITELLM_WORKERS:
                subjects.append(
                    stack.enter_context(
                        systems.litellm(self.folder, binary, workers, upstream.url, self.key, self.tell)
                    )
                )
        return subjects

    def _sample(self, subject: System, load: Load, number: int) -> Sample:
        before_s = machine.cpu_seconds(subject.pid)
        values = self._values(subject, load, self.plan.seconds)
        answers = values.pop("answers")
        after_s = machine.cpu_seconds(subject.pid)
        cpu_ms = {name: (used - before_s.get(name, 0.0)) / answers * 1000 for name, used in after_s.items()}
        values["cpu_ms"] = sum(cpu_ms.values())
        # Work for clients that wrk has left is still under way; an answer to this comes after it. It is checked, too.
        subject.check(self.key)
        time.sleep(_PAUSE_S)
        return Sample(number, subject.name, load.name, values, cpu_ms, machine.load_average())

    def _values(self, subject: System, load: Load, seconds: float) -> dict[str, float]:
        """The figures of one load, and of how many `answers` the processor time was spent on."""
        environment = clean_environment(**{KEY_VARIABLE: self.key})
        if not load.streamed:
            size = self.sizes[subject.name]
            long_s = long_enough_s(seconds, load.connections, self.paces.get(subject.name, math.inf), wrk.LONGEST_S)
            result = self.generator.run(subject.url, subject.model, load.connections, long_s, environment, size)
            self.paces[subject.name] = result.rps
            return {
                "answers": result.requests + load.connections / 2,  # those wrk has left were half done in the mean
                "rps": result.rps,
                "p50_ms": result.p50_ms,
                "p99_ms": result.p99_ms,
            }
        command = (
            *(sys.executable, "-m", "evals.bench.sse_load", "--url", subject.url, "--model", subject.model),
            *("--connections", str(load.connections), "--seconds", str(seconds)),
        )
        done = subprocess.run(  # noqa: S603 - our own command line
            command, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BenchError(f"{subject.name}, {load.connections} streams: {done.stderr.strip()[-1000:]}")
        found = json.loads(done.stdout)
        return {
            "answers": found["streams"],
            "streams_s": found["streams_s"],
            "ttft_p50_ms": found["ttft_p50_ms"],
            "ttft_p99_ms": found["ttft_p99_ms"],
        }

    @contextmanager
    def _floor_server(self) -> Iterator[str]:
        port, log = free_port(), self.folder / "floor.log"
        command = (sys.executable, "-m", "evals.bench.floor", "serve", "--port", str(port))
        with child(command, log, clean_environment()) as process:
            url = f"http://127.0.0.1:{port}"
            await_ready(process, f"{url}/ready", log, 60.0, lambda took_s: self.tell(f"the floor ({took_s:.0f} s)"))
            self.generator.run(url, "echo", 1, self.plan.warm_up_s, clean_environment(), 0)
            yield url

    def _floor_sample(self, url: str, number: int) -> Sample:
        found = self.generator.run(url, "echo", 1, self.plan.seconds, clean_environment(), 0)
        values = {"rps": found.rps, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms}
        return Sample(number, FLOOR, "c1", values, load_average=machine.load_average())

    def _graph_ms(self) -> float:
        command = (sys.executable, "-m", "evals.bench.floor", "graph", "--seconds", "1")
        done = subprocess.run(command, env=clean_environment(), capture_output=True, check=True)  # noqa: S603 - as above
        return float(json.loads(done.stdout)["p50_ms"])


def _floor(samples: Sequence[Sample], graph_ms: Sequence[float]) -> Floor | None:
    found = spreads(samples)
    base = found.get((MOCK, "c1"))
    if base is None or (FLOOR, "c1") not in found:
        return None
    added_ms = {
        system: metrics["p50_ms"].median - base["p50_ms"].median
        for (system, load), metrics in found.items()
        if load == "c1" and system.startswith(TURNOUT)
    }
    return Floor(found[FLOOR, "c1"]["p50_ms"], Spread.of(graph_ms), added_ms)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench-gateway", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1 round of 2 s: a first look, not a result")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load on each system in each round")
    parser.add_argument("--systems", default=f"{TURNOUT},{LITELLM}", help="the mock is always measured")
    parser.add_argument("--loads", default=",".join(load.name for load in LOADS))
    parser.add_argument("--out", type=Path, help="write the JSON here, too (always: .bench/gateway.json)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--install", action="store_true", help="as root: install wrk by apt-get if it is missing")
    parser.add_argument("--keep-logs", type=Path, help="folder that gets the configurations and logs of the systems")
    return parser.parse_args(given)


def _plan(given: argparse.Namespace) -> Plan:
    """What the command line asks for.

    Raises:
        BenchError: it names something that does not exist.
    """
    families = frozenset(given.systems.split(","))
    names = given.loads.split(",")
    if unknown := (families - {TURNOUT, LITELLM, MOCK}) | (set(names) - {load.name for load in LOADS}):
        raise BenchError(f"unknown: {', '.join(sorted(unknown))}")
    loads = tuple(load for load in LOADS if load.name in names)
    if given.quick:
        return Plan(1, 2.0, 2.0, families, loads)
    if given.rounds < 1 or given.seconds < 1:
        raise BenchError("at least 1 round of 1 second")
    return Plan(given.rounds, given.seconds, 3.0, families, loads)


def stopped(_signum: int, _frame: object) -> NoReturn:
    """SIGTERM unwinds like Ctrl-C, so that every child is stopped."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code: 0, 1 for a missed target (with --check), 2 for a run that failed."""
    given = _arguments(arguments)
    console = Console()
    signal.signal(signal.SIGTERM, stopped)
    try:
        plan = _plan(given)
        generator = wrk.find(install=given.install)
        with folder_for(given.keep_logs) as folder, telling(console) as tell:
            samples, floor = Bench(plan, generator, f"sk-{secrets.token_hex(24)}", tell, folder).run()
    except BenchError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        return 130
    settings = {
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "litellm_workers": _LITELLM_WORKERS,
        "configurations": systems.describe(),
    }
    versions = {"litellm": rival.LITELLM.versions["litellm"]}
    report = Report(machine.facts(**versions), settings, samples, targets(samples), floor)
    text = json.dumps(report.as_json(), indent=1)
    for path in filter(None, (BENCH_DIR / "gateway.json", given.out)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    show(report, console)
    missed = [target for target in report.targets if not target.met]
    complete = len(report.targets) == TARGETS
    return _EXIT_MISSED if given.check and (missed or not complete) else 0


if __name__ == "__main__":
    sys.exit(main())
