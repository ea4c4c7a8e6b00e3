"""Trains the predictor: `python -m evals.train --outcomes DIR --out FILE`; see docs/predictor.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evals.train.dataset import MEASURED, build
from evals.train.fit import Settings
from evals.train.report import render
from evals.train.train import train
from evals.train.weights import write


def main() -> None:
    """Read, train, score on prompts and on kinds of task that were held out, write."""
    parser = argparse.ArgumentParser(prog="python -m evals.train", description=__doc__)
    parser.add_argument("--outcomes", type=Path, required=True, help="folder of Parquet outcome tables")
    parser.add_argument("--out", type=Path, required=True, help="the weights file to write (.npz)")
    parser.add_argument("--trained", default="2026-11", help="month, the first part of the version")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tables = sorted(args.outcomes.glob("*.parquet"))
    if not tables:
        sys.exit(f"{args.outcomes}: no .parquet outcome table there")
    if not MEASURED.exists():
        sys.exit(f"{MEASURED}: missing; make it with evals.train.measure and evals.train.collect")
    rows = build(tables, args.seed)
    result = train(rows, Settings(), args.seed)
    write(args.out, result, trained=args.trained)
    sys.stdout.write(render(result))


if __name__ == "__main__":
    main()
