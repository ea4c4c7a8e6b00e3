"""`turnout eval live`: a labelled suite against a running endpoint, under several policies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from evals import out
from evals.console import show
from evals.live.ask import POLICIES, Answered, ask, ingest
from evals.live.suite import read_suite
from evals.outcomes.read import from_rows, write_table
from evals.progress import bar
from services.contracts.errors import ConfigError, TurnoutError
from services.controller.client import Client

_PER_1K = 1000.0
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Line:
    """One policy's figures, of the whole suite or of one kind of task."""

    policy: str
    task: str
    n: int
    quality: float
    low: float
    high: float
    usd_per_1k: float
    p50_s: float
    p99_s: float
    components: dict[str, int]
    errors: int


def run(suite_file: Path, url: str, policies: Sequence[str], to: Path | None) -> int:
    """Ask every case under every policy, print, write. Exit code 1 if no answer came at all."""
    if unknown := set(policies) - set(POLICIES):
        raise ConfigError(f"{', '.join(sorted(unknown))}: not one of {', '.join(POLICIES)}")
    suite = read_suite(suite_file)
    if to is not None:
        out.folder(to)
    answers: list[Answered] = []
    with Client.make(url).http() as http, bar(len(policies) * len(suite.cases) + 1) as tell:
        tell("documents")
        ingest(http, suite)
        for case in suite.cases:  # policy by policy within a case, so that a busy moment strikes all alike
            for policy in policies:
                tell(f"{policy}: {case.id}")
                answers.append(ask(http, case, policy))
    lines = summary(answers, policies)
    show(_table(lines))
    for failed in [a for a in answers if a.error][:5]:
        Console(stderr=True).print(f"{failed.policy}, {failed.case.id}: {failed.error}", markup=False)
    if to is not None:
        write(to, suite_file.stem, lines, answers)
    if all(a.error for a in answers):
        raise TurnoutError("no answer came")
    return 0


def summary(answers: Sequence[Answered], policies: Sequence[str]) -> list[Line]:
    """Every policy over the whole suite, then by kind of task. Pure."""
    tasks = ["", *dict.fromkeys(a.case.task for a in answers)]
    chosen = {(p, t): [a for a in answers if a.policy == p and t in ("", a.case.task)] for t in tasks for p in policies}
    return [_line(policy, task, found) for (policy, task), found in chosen.items() if found]


def _line(policy: str, task: str, found: Sequence[Answered]) -> Line:
    n, times = len(found), [a.latency_s for a in found]
    low, high = wilson(sum(a.correct for a in found), n)
    return Line(
        policy=policy,
        task=task,
        n=n,
        quality=sum(a.correct for a in found) / n,
        low=low,
        high=high,
        usd_per_1k=sum(a.cost_usd for a in found) / n * _PER_1K,
        p50_s=float(np.percentile(times, 50)),
        p99_s=float(np.percentile(times, 99)),
        components=dict(Counter(a.component for a in found if a.component).most_common()),
        errors=sum(bool(a.error) for a in found),
    )


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95% interval of a proportion. Source: Wilson, 1927."""
    middle = (successes + _Z95**2 / 2) / (n + _Z95**2)
    half = _Z95 / (n + _Z95**2) * np.sqrt(successes * (n - successes) / n + _Z95**2 / 4)
    return float(middle - half), float(middle + half)


def write(into: Path, name: str, lines: Sequence[Line], answers: Sequence[Answered]) -> None:
    """`report.json`, and `outcomes.jsonl`: an outcome table in which each policy stands as a model."""
    report: dict[str, Any] = {"suite": name, "lines": [vars(line) for line in lines]}
    report["answers"] = [
        {"id": a.case.id, "policy": a.policy, "correct": a.correct, "component": a.component, "answer": a.answer}
        | {"latency_s": a.latency_s, "cost_usd": a.cost_usd, "error": a.error}
        for a in answers
    ]
    (into / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    rows = [(at, _row(name, a)) for at, a in enumerate(answers, start=1)]
    write_table(from_rows(rows, "answers"), into / "outcomes.jsonl")


def _row(name: str, a: Answered) -> dict[str, Any]:
    return {
        "source": name,
        "prompt_id": a.case.id,
        "prompt": a.case.prompt,
        "task": a.case.task,
        "model": a.policy,
        "quality": float(a.correct),
        "cost_usd": a.cost_usd,
        "input_tokens": a.input_tokens,
        "output_tokens": a.output_tokens,
        "latency_s": a.latency_s,
    }


def _table(lines: Sequence[Line]) -> Table:
    table = Table(title="real answers, judged by code; 95% intervals")
    for heading in ("task", "policy", "cases", "quality", "$ per 1K", "p50 s", "p99 s", "errors", "who answered"):
        table.add_column(heading, justify="left" if heading in {"task", "policy", "who answered"} else "right")
    for line in lines:
        table.add_row(
            line.task or "all",
            line.policy,
            str(line.n),
            f"{line.quality:.2f} [{line.low:.2f}, {line.high:.2f}]",
            f"{line.usd_per_1k:.4f}",
            f"{line.p50_s:.2f}",
            f"{line.p99_s:.2f}",
            str(line.errors),
            ", ".join(f"{name} {count}" for name, count in line.components.items()),
            style="bold" if not line.task else None,
        )
    return table
