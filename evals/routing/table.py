"""The figures of a run as rows of text: for the terminal, and for the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from evals.routing.evaluate import Score
from evals.routing.matrix import Matrix

_WITHOUT_INTERVAL = frozenset({"decision_ms", "ece", "brier"})


def headings(test: Matrix, budgets: Sequence[float]) -> list[tuple[str, str]]:
    """(name of the figure, how it is headed), as far as they have a meaning for the table."""
    pair = [("apgr", "APGR"), ("cpt50", "CPT(50%)"), ("cpt80", "CPT(80%)")] if test.pair else []
    money = "$" if test.priced else ""
    at = [(f"quality_at:{budget:g}", f"quality at {money}{budget:g}") for budget in budgets]
    arena = [("router_arena", "RouterArena")] if test.priced else []
    return [
        *pair,
        ("aiq", "AIQ"),
        *at,
        ("max_quality", "best quality"),
        ("cost_at:0.95", f"{money or 'share '}for 95% of the best"),
        ("gap_closed", "gap closed"),
        *arena,
        ("ece", "ECE"),
        ("brier", "Brier"),
        ("decision_ms", "decision ms"),
    ]


def rows(test: Matrix, scores: Sequence[Score], budgets: Sequence[float]) -> list[list[str]]:
    """The name of every policy, and its figures in the order of `headings`."""
    return [[score.name, *(_cell(score, name) for name, _ in headings(test, budgets))] for score in scores]


def rendered(test: Matrix, scores: Sequence[Score], budgets: Sequence[float]) -> Table:
    """For the terminal."""
    table = Table(title=f"{test.name}: {len(test):,} test prompts, cost in {test.unit}; ± is half the 95% interval")
    table.add_column("policy")
    for _, heading in headings(test, budgets):
        table.add_column(heading, justify="right")
    for row in rows(test, scores, budgets):
        table.add_row(*row, style="bold" if row[0] == "turnout" else None)
    return table


def _cell(score: Score, name: str) -> str:
    value = score.decision_ms if name == "decision_ms" else score.values.get(name, math.nan)
    if not math.isfinite(value):
        return "-"
    digits = 1 if name.startswith("cpt") else 2 if name == "decision_ms" else 3
    text = f"{value:.{digits}f}"
    low, high = score.intervals.get(name, (math.nan, math.nan))
    if name in _WITHOUT_INTERVAL or (math.isnan(low) and math.isnan(high)) or high <= low:
        return text
    if not math.isfinite(high - low):
        ends = ("-" if math.isnan(end) else f"{end:.{digits}f}" for end in (low, high))
        return f"{text} [{', '.join(ends)}]"
    return f"{text} ±{(high - low) / 2:.{digits}f}"
