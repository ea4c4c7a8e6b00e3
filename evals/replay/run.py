"""`turnout eval replay`: what another policy would have cost, how good and how slow it would have been."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from evals import out
from evals.console import show
from evals.outcomes.decisions import Logged, read
from evals.outcomes.tell import SHOWN
from evals.replay.estimate import Estimate, doubly_robust, outcome_model
from evals.replay.log import FIGURES, Replayed, replayed
from evals.replay.policy_file import read_policy
from services.contracts.errors import ConfigError

_FEW = 30


def run(log: Path, policy_file: Path, to: Path | None, *, skip_bad_rows: bool) -> int:
    """Read, estimate, print; write JSON where it is wanted. Returns the exit code."""
    policy = read_policy(policy_file)
    if to is not None:
        out.file(to)
    decisions: list[Logged] = []
    bad = 0
    for number, logged in read(log):
        if isinstance(logged, str):
            bad += 1
            if bad <= SHOWN:
                sys.stderr.write(f"{log}:{number}: {logged}\n")
        else:
            decisions.append(logged)
    if bad > SHOWN:
        sys.stderr.write(f"… and {bad - SHOWN:,} more\n")
    if bad and not skip_bad_rows:
        raise ConfigError(f"{bad} lines cannot be used; --skip-bad-rows goes on without them")
    world = replayed(decisions, policy)
    estimates, logged_as = estimate(world)
    show(_table(world, estimates, logged_as))
    if to is not None:
        report = {
            "n_decisions": len(world.taken),
            "unanswerable": world.unanswerable,
            "skipped_rows": bad,
            "policy": {name: _finite(asdict(found)) for name, found in estimates.items()},
            "logged": {name: _finite(asdict(found)) for name, found in logged_as.items()},
        }
        to.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def estimate(world: Replayed) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """(what the policy would have brought, what the log brought), by figure."""
    policy, log = {}, {}
    for figure in FIGURES:
        reward = world.outcome[figure]
        modelled = outcome_model(reward, world.taken, world.hints[figure])
        policy[figure] = doubly_robust(
            reward, world.taken, world.chance, world.wanted, modelled, world.could, within_0_1=figure == "quality"
        )
        certain = world.chance**0  # the log's own choices are what happened
        log[figure] = doubly_robust(reward, world.taken, certain, world.taken, modelled, certain > 0)
    return policy, log


def _table(world: Replayed, policy: dict[str, Estimate], log: dict[str, Estimate]) -> Table:
    table = Table(title=f"{len(world.taken):,} decisions; mean of one request with its 95% interval")
    for heading in ("", "as logged", "under the policy", "known", "corrected by", "model only"):
        table.add_column(heading, justify="left" if not heading else "right")
    for figure in FIGURES:
        found = policy[figure]
        few = " (few!)" if found.effective < _FEW and math.isfinite(found.mean) else ""
        table.add_row(
            figure,
            _text(log[figure]),
            _text(found),
            f"{found.direct:.0%}",
            f"{found.effective:.0f} decisions{few}",
            f"{found.modelled:.0%}",
        )
    return table


def _text(found: Estimate) -> str:
    return f"{found.mean:.4g} [{found.low:.4g}, {found.high:.4g}]" if math.isfinite(found.mean) else "not known"


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
