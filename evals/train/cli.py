"""`turnout train`: learns from outcomes, on top of what the shipped predictor knows. Offered as `turnout.commands`."""

# ruff: noqa: PLC0415 - the command loads what it needs, so that `--help` stays quick

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evals.cli import SkipBad, guarded


def train(
    outcomes: Annotated[list[Path], typer.Argument(help="Outcome tables (.parquet, .jsonl); see docs/evals.md.")],
    out: Annotated[Path, typer.Option("--out", help="The predictor file to write (.npz).")],
    tier: Annotated[
        list[str] | None,
        typer.Option("--tier", help="MODEL=tiny|small|medium|large: whose outcomes a model's are; repeatable."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="The predictor to go on from. Default: the one that is shipped.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds by which it is judged.")] = 1,
    skip_bad_rows: SkipBad = False,
) -> None:
    """Train the router's predictor on outcomes, on top of what it knows. Tiers without outcomes stay as they were.

    turnout train mine.parquet --tier my-7b=medium --tier gpt-5-mini=large --out predictor.npz

    Then name the file in turnout.yaml (router: {predictor: predictor.npz}) and save it, or `turnout apply` it.
    """
    from evals.train.continued import run

    code = guarded(lambda: run(tuple(outcomes), out, tuple(tier or ()), start, seed, skip_bad_rows=skip_bad_rows))
    raise typer.Exit(code)
