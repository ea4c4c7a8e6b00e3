"""`turnout eval check-replay`: the estimator judged on a table that knows everything."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from evals.console import show
from evals.outcomes.read import read_table
from evals.outcomes.tell import accept
from evals.progress import bar
from evals.replay.validate import Trial, validate
from evals.routing.matrix import to_matrix
from services.contracts.errors import TurnoutError

_LEAST_COVERED = 0.9


def run(path: Path, logs: int, decisions: int, seed: int) -> int:
    """Draw logs, estimate, compare. Exit code 1 if intervals hold the truth too rarely.

    Raises:
        TurnoutError: they do.
    """
    matrix = to_matrix(accept(read_table(path), [path], skip=False).frame, path.stem)
    with bar(logs) as tell:
        trials = validate(matrix, logs, decisions, seed, tell)
    show(_table(trials, logs))
    if worst := [t for t in trials if t.covered < _LEAST_COVERED]:
        names = ", ".join(f"{t.figure} of {t.policy}" for t in worst)
        raise TurnoutError(f"95% intervals hold the truth in less than {_LEAST_COVERED:.0%} of the logs: {names}")
    return 0


def _table(trials: list[Trial], logs: int) -> Table:
    table = Table(title=f"{logs} logs of a router that explores, against the whole table")
    for heading in (
        "policy",
        "figure",
        "truth",
        "bias",
        "RMS error",
        "of the model alone",
        "intervals right",
        "for the table",
    ):
        table.add_column(heading, justify="left" if heading in {"policy", "figure"} else "right")
    for t in trials:
        table.add_row(
            t.policy,
            t.figure,
            f"{t.truth:.4f}",
            f"{t.bias:+.4f}",
            f"{t.rmse:.4f}",
            f"{t.naive_rmse:.4f}",
            f"{t.covered:.0%}",
            f"{t.covered_table:.0%}",
        )
    return table
