"""Fits the verifier of a cascade: `python -m evals.train.verifier MEASURED.jsonl --tier TIER`; see docs/routing.md.

The file is one of `evals.train.measure`: answers of one model with the odds of their tokens, judged by code. What is
predicted from the prompt alone comes from heads that have not seen the prompt, and in a second table from heads that
have not seen its kind of task. `--into FILE` writes the verifier into a copy of the shipped predictor.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from evals.train.dataset import MEASURED, read_measured
from evals.train.fit import Settings
from evals.train.rows import Row
from evals.train.score import auc, brier, ece
from evals.train.train import held_out_predictions
from router.cascade import acceptance
from router.odds import LEAST_P
from router.predictor import SHIPPED
from router.verify import MOST_AHEAD
from services.contracts.predictor_file import read

Array = npt.NDArray[Any]
_FOLDS = 5
_FLOORS = (0.5, 0.6, 0.7, 0.8)


def main(given: Sequence[str] | None = None) -> None:
    """Fit by prompt and by kind held out, print the figures and the weights."""
    parser = argparse.ArgumentParser(prog="python -m evals.train.verifier", description=__doc__)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--tier", default="tiny", choices=("tiny", "small"), help="whose labels the suite has")
    parser.add_argument("--into", type=Path, help="the predictor file to write")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(given)
    with args.measured.open(encoding="utf-8") as lines:
        answers = [row for row in map(json.loads, lines) if row["odds"] and not row["grounded"]]
    rows = list(read_measured(MEASURED))
    found: dict[str, tuple[float, ...]] = {}
    for split in ("prompt", "kind"):
        prior_of = dict(
            zip(_keys(rows), held_out_predictions(rows, Settings(), args.seed, args.tier, split), strict=True)
        )
        kept = [row for row in answers if _text(row) in prior_of]
        prior = np.array([prior_of[_text(row)] for row in kept])
        x = np.array([min(max(min(lead for _, lead in row["odds"]), 0.0), MOST_AHEAD) for row in kept])
        y = np.array([row["quality"] for row in kept])
        sys.stdout.write(f"\nprediction from the prompt: {split} held out\n")
        found[split] = report(prior, x, y, np.array([_fold(row["family"], args.seed) for row in kept]))
    if args.into is not None:
        _write(args.into, args.tier, found["prompt"])


def report(prior: Array, x: Array, y: Array, fold: Array) -> tuple[float, ...]:
    """Prints figures of answers whose kind of task took no part in the fit; returns power and weights fitted on all."""
    design = _design(prior, x)
    p = np.zeros(len(y))
    shift = np.zeros(len(y))
    for part in np.unique(fold):
        kept, tested = fold != part, fold == part
        fitted = _fit(design[kept], y[kept])
        p[tested] = fitted.predict_proba(design[tested])[:, 1]
        shift[tested] = x[tested] * fitted.coef_[0][1]
    good, bad = shift[y > 0.5], shift[y <= 0.5]  # noqa: PLR2004 - checked by code: right or wrong
    spread = np.sqrt((good.var() + bad.var()) / 2)
    power = float((good.mean() - bad.mean()) / spread)
    for name, q in (("prompt alone", prior), ("with the answer", p)):
        sys.stdout.write(f"  {name:16} AUC {auc(q, y):.3f}  Brier {brier(q, y):.3f}  ECE {ece(q, y):.3f}\n")
    sys.stdout.write(f"  power {power:.2f}, n {len(y)}, good {y.mean():.3f}\n")
    for floor in _FLOORS:
        tried = prior < floor
        taken = tried & (p >= floor)
        expected = np.mean([acceptance(q, floor, power) for q in prior[tried]])
        sys.stdout.write(
            f"  floor {floor}: tried {tried.sum()}, expected to accept {expected:.3f}, "
            f"accepted {taken.sum() / tried.sum():.3f}, good of those {y[taken].sum() / max(taken.sum(), 1):.3f}\n"
        )
    final = _fit(design, y)
    weights = (float(final.intercept_[0]), *map(float, final.coef_[0]))
    sys.stdout.write(f"  Verifier({power:.2f}, ({', '.join(f'{w:.4f}' for w in weights)}))\n")
    return (power, *weights)


def _write(path: Path, tier: str, verifier: tuple[float, ...]) -> None:
    """A copy of the shipped predictor with the verifier in it."""
    meta, data = read(SHIPPED)
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    told = msgspec.structs.replace(meta, verifiers={**meta.verifiers, tier: verifier})
    arrays["meta"] = np.frombuffer(msgspec.json.encode(told), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    path.write_bytes(buffer.getvalue())


def _design(prior: Array, x: Array) -> Array:
    clipped = np.clip(prior, LEAST_P, 1 - LEAST_P)
    return np.column_stack([np.log(clipped / (1 - clipped)), x])


def _fit(design: Array, y: Array) -> LogisticRegression:
    return LogisticRegression(C=1.0, max_iter=1000).fit(design, y > 0.5)  # noqa: PLR2004 - right or wrong


def _fold(family: str, seed: int) -> int:
    return zlib.crc32(f"{seed}:{family.split('-', maxsplit=1)[0]}".encode()) % _FOLDS


def _text(row: dict[str, Any]) -> str:
    return f"{row.get('system', '')}\n{row['prompt']}"


def _keys(rows: list[Row]) -> list[str]:
    with MEASURED.open(encoding="utf-8") as lines:
        return [_text(json.loads(line)) for line in lines][: len(rows)]


if __name__ == "__main__":
    main()
