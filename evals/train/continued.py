"""Training that goes on from a predictor: heads with new outcomes are fitted on, all others stay as they are."""

from __future__ import annotations

import datetime
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evals import out
from evals.outcomes.read import read_table
from evals.outcomes.tell import accept
from evals.train.fit import HEADS, SCALAR_GAIN, Model, Settings
from evals.train.rows import CLASS_OF, Row, rows_of
from evals.train.train import Result, train
from evals.train.weights import write
from router.predictor import SHIPPED, Predictor
from services.contracts.errors import ConfigError
from services.contracts.predictor_file import Meta, read

TIERS = ("tiny", "small", "medium", "large")
LEAST_PROMPTS = 100
"""A head with fewer is left as it was: what could be learnt of them would be noise."""


def run(
    tables: Sequence[Path], to: Path, tiers: Sequence[str], start: Path | None, seed: int, *, skip_bad_rows: bool
) -> int:
    """Read, train, write, tell. Returns the exit code.

    Raises:
        ConfigError: a table, a tier or the predictor to start from cannot be used, or nothing can be learnt.
    """
    rows = _rows(tables, _class_of(tiers), skip_bad_rows=skip_bad_rows)
    base_file = start or SHIPPED
    Predictor.load(base_file)  # its numbers, too, are as they should be
    base, meta = _model(base_file)
    if not (learnt := learnable(rows)):
        raise ConfigError(f"no tier has the outcomes of {LEAST_PROMPTS} prompts; nothing can be learnt")
    out.file(to)
    result = continued(rows, base, learnt, seed)
    names = ", ".join(path.name for path in tables)
    trained = datetime.datetime.now(datetime.UTC).strftime("%Y-%m")
    write(
        to,
        result,
        trained=trained,
        sources=(*meta.sources, f"{len(rows)} prompts of {names}"),
        verifiers=meta.verifiers,
    )
    sys.stdout.write(_told(result, learnt) + f"{to}: {Predictor.load(to).version}\n")
    return 0


def learnable(rows: Sequence[Row]) -> tuple[str, ...]:
    """The heads that have enough outcomes."""
    known = {name: sum(name in row.measured for row in rows) for name in TIERS}
    if not (tiers := tuple(name for name, count in known.items() if count >= LEAST_PROMPTS)):
        return ()
    lengths = sum(row.output_tokens is not None for row in rows)
    return (*tiers, "tokens") if lengths >= LEAST_PROMPTS else tiers


def continued(rows: Sequence[Row], base: Model, learnt: Sequence[str], seed: int) -> Result:
    """The base with the heads in `learnt` fitted on. The figures are of prompts held out in turn."""
    result = train(rows, Settings(buckets=len(base.idf)), seed, base)
    for at, name in enumerate(HEADS):
        if name not in learnt:
            result.model.weights[:, at] = base.weights[:, at]
            result.model.familiar[:, at] = base.familiar[:, at]
            result.model.calibration[:, at] = base.calibration[:, at]
    if "tokens" not in learnt:
        result.model.tokens_smear = base.tokens_smear
    return result


def _class_of(tiers: Sequence[str]) -> Mapping[str, str]:
    named: dict[str, str] = {}
    for given in tiers:
        model, _, tier = given.rpartition("=")
        if not model or tier not in TIERS:
            raise ConfigError(f"--tier {given}: say MODEL={'|'.join(TIERS)}")
        named[model] = tier
    return {**CLASS_OF, **named}


def _rows(tables: Sequence[Path], class_of: Mapping[str, str], *, skip_bad_rows: bool) -> list[Row]:
    rows: list[Row] = []
    strangers: set[str] = set()
    for path in tables:
        records = accept(read_table(path), [path], skip=skip_bad_rows).frame.to_dicts()
        strangers |= {record["model"] for record in records} - class_of.keys()
        rows += (row for row in rows_of(records, class_of, TIERS) if row.labels)
    if strangers:
        names = ", ".join(sorted(strangers)[:10])
        sys.stderr.write(f"left out, since no --tier says what they are: {names}\n")
    return rows


def _model(file: Path) -> tuple[Model, Meta]:
    """The heads of a file in the order of training, and what it says of itself."""
    meta, data = read(file)
    columns = [meta.heads.index(name) for name in HEADS]
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        own = stored["scalar_weights"].astype(np.float64) / SCALAR_GAIN
        weights = np.concatenate([stored["weights"].astype(np.float64), own])[:, columns]
        model = Model(
            weights=weights,
            familiar=stored["familiar"].astype(bool)[:, columns],
            idf=stored["idf"].astype(np.float32),
            calibration=stored["calibration"].astype(np.float64)[:, columns],
            tokens_smear=float(stored["tokens_smear"][0]),
        )
    return model, meta


def _told(result: Result, learnt: Sequence[str]) -> str:
    lines = ["tier      prompts    AUC  Brier    ECE   (prompts held out; Brier of a constant)"]
    for name in learnt:
        found, floor = result.by_prompt[name], result.floors.get(name, {}).get("constant", {})
        if name == "tokens":
            lines.append(f"{name:8}  {found['n']:7.0f}  R2 of the logarithm {found['log_r2']:.2f}")
        else:
            shown = "  ".join(f"{found[figure]:.3f}" for figure in ("auc", "brier", "ece"))
            lines.append(f"{name:8}  {found['n']:7.0f}  {shown}   ({floor['brier']:.3f})")
    return "\n".join(lines) + "\n"
