"""The outcome table: one row per (prompt, model), what that model's answer was worth and what it cost.

| column | type | meaning |
|---|---|---|
| source | str | where the row comes from |
| prompt_id | str | the prompt within its source; one prompt text per id |
| prompt | str | what a router sees |
| task | str | the benchmark's label, or empty; never shown to a router |
| model | str | who answered |
| quality | float | 0..1: correctness, or a judge's reward |
| cost_usd | float or null | measured cost of that answer, USD, not negative |
| input_tokens, output_tokens | int or null | measured, not negative |
| latency_s | float or null | measured, seconds, not negative |

Parquet or JSON lines (`.jsonl`), the same columns in both. Columns beyond these are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import polars as pl


class Outcome(msgspec.Struct, frozen=True):
    """One row, as it stands in a JSON line."""

    source: str
    prompt_id: str
    prompt: str
    task: str
    model: str
    quality: float
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_s: float | None = None


COLUMNS: dict[str, pl.DataType] = {
    "source": pl.String(),
    "prompt_id": pl.String(),
    "prompt": pl.String(),
    "task": pl.String(),
    "model": pl.String(),
    "quality": pl.Float64(),
    "cost_usd": pl.Float64(),
    "input_tokens": pl.Int64(),
    "output_tokens": pl.Int64(),
    "latency_s": pl.Float64(),
}
REQUIRED = ("source", "prompt_id", "prompt", "task", "model", "quality")


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used. `row` counts from 1: the line of a text file, the row of a binary one."""

    file: str
    row: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.row}: {self.reason}"


@dataclass(frozen=True)
class Outcomes:
    """Rows that keep to the schema, and those that do not. `frame` has `COLUMNS`, in their order."""

    frame: pl.DataFrame
    bad: tuple[BadRow, ...] = ()
