"""What a row must keep to beyond its types; every row that does not is named with the reason."""

from __future__ import annotations

import polars as pl

from evals.outcomes.schema import COLUMNS, REQUIRED, BadRow, Outcomes

ROW = "row"  # where in its file a row stood, counted from 1
_NOT_NEGATIVE = ("cost_usd", "input_tokens", "output_tokens", "latency_s")


def _rules() -> list[tuple[pl.Expr, str]]:
    """(the row breaks it, what to say). The first that is broken is told."""
    missing = [(pl.col(name).is_null(), f"{name} is missing") for name in REQUIRED]
    empty = [(pl.col(name) == "", f"{name} is empty") for name in ("prompt_id", "prompt", "model")]
    quality = pl.col("quality")
    figures = [
        (~pl.col(name).cast(pl.Float64).is_finite() | (pl.col(name) < 0), f"{name} is negative or not finite")
        for name in _NOT_NEGATIVE
    ]
    of_prompt = ["source", "prompt_id"]
    return [
        *missing,
        *empty,
        (~quality.is_finite() | (quality < 0) | (quality > 1), "quality is not within 0..1"),
        *figures,
        (pl.col("prompt") != pl.col("prompt").first().over(of_prompt), "another prompt has this prompt_id"),
        (~pl.struct([*of_prompt, "model"]).is_first_distinct(), "this prompt_id and model were there before"),
    ]


def checked(frame: pl.DataFrame, file: str, found_before: tuple[BadRow, ...] = ()) -> Outcomes:
    """The rows that can be used, and the others with their reason.

    Args:
        frame: `COLUMNS` with their types, and `ROW`.
        file: what to call the table in messages.
        found_before: rows that could not even be read as such.
    """
    reason = pl.coalesce([pl.when(broken).then(pl.lit(text)) for broken, text in _rules()]).alias("reason")
    judged = frame.with_columns(reason)
    broken = judged.filter(pl.col("reason").is_not_null()).select(ROW, "reason")
    bad = [BadRow(file, row, text) for row, text in broken.rows()]
    good = judged.filter(pl.col("reason").is_null()).select(list(COLUMNS))
    return Outcomes(good, tuple(sorted([*found_before, *bad], key=lambda found: found.row)))
