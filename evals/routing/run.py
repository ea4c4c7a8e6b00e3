"""`turnout eval routing`: from tables to a report."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from evals import out
from evals.console import show
from evals.outcomes.read import read_tables
from evals.outcomes.schema import Outcomes
from evals.outcomes.tell import accept
from evals.progress import bar
from evals.routing import plots, report_html, report_json
from evals.routing.evaluate import Score, Wanted, evaluate
from evals.routing.matrix import Matrix, counting, split, to_matrix, without
from evals.routing.policies.base import Policy
from evals.routing.policies.floors import Knn, TfIdfRidge
from evals.routing.policies.plain import Cheapest, Length, Oracle, RandomMix, Single, Strongest
from evals.routing.policies.turnout import Turnout
from evals.routing.prices import read_prices
from evals.routing.table import rendered
from services.contracts.errors import ConfigError

_BUDGETS_USD_PER_1K = (0.1, 0.23, 0.5, 1.0, 5.0)
_BUDGETS_SHARE = (0.25, 0.5, 0.75)
_LEAST_PROMPTS = 20


@dataclass(frozen=True)
class Asked:
    """What the command line asks for. `budgets` are on the cost axis of the report; empty: the usual ones."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]
    weak: str | None
    strong: str | None
    prices: Path | None
    seed: int
    hold_out: float
    budgets: tuple[float, ...]
    out: Path


def run(asked: Asked, *, skip_bad_rows: bool) -> int:
    """Read, split, evaluate, print, write. Returns the exit code."""
    tables = accept(read_tables(asked.train), asked.train, skip=skip_bad_rows)
    tested = accept(read_tables(asked.test), asked.test, skip=skip_bad_rows) if asked.test else None
    train, test, about = prepare(tables, tested, asked)
    budgets = asked.budgets or (_BUDGETS_USD_PER_1K if test.priced else _BUDGETS_SHARE)
    out.folder(asked.out)
    policies = everyone(test)
    with bar(2 * len(policies) + Turnout.STEPS + 1) as tell:
        scores = evaluate(policies, train, test, Wanted(budgets, asked.seed), tell)
    show(rendered(test, scores, budgets))
    write(asked.out, test, scores, budgets, about)
    Console(stderr=True).print(f"{asked.out / 'report.html'}")
    return 0


def prepare(tables: Outcomes, tested: Outcomes | None, asked: Asked) -> tuple[Matrix, Matrix, dict[str, Any]]:
    """(to train on, to test on, what to say of the run). No text that is tested on is trained on.

    Raises:
        ConfigError: the models do not fit, or too few prompts are left.
    """
    if (asked.weak is None) != (asked.strong is None):
        raise ConfigError("--weak and --strong go together")
    if asked.weak is not None and asked.weak == asked.strong:
        raise ConfigError(f"--weak and --strong are both {asked.weak}")
    if not all(math.isfinite(budget) and budget >= 0 for budget in asked.budgets):
        raise ConfigError("a budget is a number, not below 0")
    pair = None if asked.weak is None or asked.strong is None else (asked.weak, asked.strong)
    prices = read_prices(asked.prices) if asked.prices else None
    name = " + ".join(path.stem for path in asked.test or asked.train)
    if tested is None:
        whole = to_matrix(tables.frame, name, pair, prices, strong=asked.strong)
        train, test = split(whole, asked.hold_out, asked.seed)
    else:
        test = to_matrix(tested.frame, name, pair, prices, strong=asked.strong)
        learnt = "training tables"
        known = to_matrix(tables.frame, learnt, test.models, prices, priced=test.priced, strong=_counted(test))
        train = without(known, test)
    if not test.priced and test.pair is None:  # what is best is learnt, as the policy `strongest` learns it
        best = int(train.quality.mean(axis=0).argmax()) if len(train) else 0
        train, test = counting(train, best), counting(test, best)
    if taken := {policy.name for policy in everyone(replace(test, models=()))} & {*test.models}:
        raise ConfigError(f"{name}: a model is called {', '.join(sorted(taken))}, as a policy of the report is")
    if prices and not test.priced:
        unknown = sorted({*test.models} - prices.keys())
        why = f"no price of {', '.join(unknown)}" if unknown else "there are prices, but not tokens in every row"
        raise ConfigError(f"{asked.prices}: costs stay unknown: {why}")
    if min(len(train), len(test)) < _LEAST_PROMPTS:
        raise ConfigError(
            f"{len(train)} prompts to train on and {len(test)} to test on are too few: {_LEAST_PROMPTS} each are needed"
        )
    return (
        train,
        test,
        {
            "trained_on": [str(path) for path in asked.train],
            "tested_on": [str(path) for path in asked.test] or f"{asked.hold_out:.0%} of the prompts, held out",
            "n_train_prompts": len(train),
            "prompts_without_an_answer_of_every_model": {"train": train.incomplete, "test": test.incomplete},
            "calls_counted": _counted(test),
            "seed": asked.seed,
            "skipped_rows": len(tables.bad) + (len(tested.bad) if tested else 0),
        },
    )


def _counted(test: Matrix) -> str | None:
    """The model whose calls are counted, where there are no prices."""
    return None if test.priced else test.models[int(test.cost[0].argmax())]


def everyone(test: Matrix) -> list[Policy]:
    """All policies that a report compares."""
    plain: list[Policy] = [Oracle(), RandomMix(), Length(), Cheapest(), Strongest()]
    return [*plain, *(Single(model) for model in test.models), TfIdfRidge(), Knn(), Turnout()]


def write(into: Path, test: Matrix, scores: list[Score], budgets: tuple[float, ...], about: dict[str, Any]) -> None:
    """The report in all its forms."""
    ours = next(score for score in scores if score.name == plots.OURS)
    drawn = {"Cost and quality": plots.cost_quality(test, scores), "Gap closed": plots.gap_closed(scores)}
    if ours.predicted is not None:
        drawn["Calibration"] = plots.calibration(np.asarray(ours.predicted.quality), test.quality)
    for title, png in drawn.items():
        (into / f"{title.lower().replace(' ', '_')}.png").write_bytes(png)
    report_json.write(into / "report.json", report_json.as_json(test, scores, about))
    (into / "report.html").write_text(report_html.page(test, scores, budgets, about, drawn), encoding="utf-8")
