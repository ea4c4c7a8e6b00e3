"""Reads and writes outcome tables: Parquet and JSON lines. Strict: what does not keep to the schema is told, by row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from polars.exceptions import PolarsError

from evals import out
from evals.outcomes.check import ROW, checked
from evals.outcomes.schema import COLUMNS, REQUIRED, BadRow, Outcome, Outcomes
from services.contracts.errors import ConfigError

_DECODER = msgspec.json.Decoder(Outcome)


def read_table(path: Path) -> Outcomes:
    """An outcome table.

    Raises:
        ConfigError: the file is missing, is not a table, or lacks a required column.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    match path.suffix:
        case ".parquet":
            return _parquet(path)
        case ".jsonl" | ".ndjson":
            return _json_lines(path)
        case other:
            raise ConfigError(f"{path}: an outcome table is .parquet or .jsonl, not {other or 'without a suffix'}")


def read_tables(paths: Iterable[Path]) -> Outcomes:
    """Several tables as one. The same prompt and model in two of them is a bad row of the later one."""
    frames: list[pl.DataFrame] = []
    bad: list[BadRow] = []
    seen = pl.DataFrame(schema={name: pl.String() for name in ("source", "prompt_id", "model")})
    for path in paths:
        table = read_table(path)
        bad += table.bad
        twice = table.frame.with_row_index(ROW, 1).join(seen, on=seen.columns, how="semi")
        bad += [BadRow(str(path), row, "an earlier table has this prompt_id and model") for row in twice[ROW]]
        frames.append(table.frame.join(seen, on=seen.columns, how="anti", maintain_order="left"))
        seen = pl.concat([seen, frames[-1].select(seen.columns)])
    if not frames:
        raise ConfigError("no outcome table was given")
    return Outcomes(pl.concat(frames), tuple(bad))


def from_rows(rows: Iterable[tuple[int, dict[str, Any] | str]], file: str) -> Outcomes:
    """Rows that an importer has made: (row in its file, columns), or (row, why there is none)."""
    good: list[dict[str, Any]] = []
    bad: list[BadRow] = []
    for number, row in rows:
        if isinstance(row, str):
            bad.append(BadRow(file, number, row))
            continue
        try:
            outcome = msgspec.convert(row, Outcome)
        except msgspec.ValidationError as error:
            bad.append(BadRow(file, number, str(error)))
            continue
        good.append({**msgspec.structs.asdict(outcome), ROW: number})
    return checked(pl.DataFrame(good, schema={**COLUMNS, ROW: pl.Int64()}), file, tuple(bad))


def write_table(table: Outcomes, path: Path) -> None:
    """Write the good rows, in the format of the suffix.

    Raises:
        ConfigError: the suffix is neither .parquet nor .jsonl, or the file cannot be written.
    """
    out.file(path)
    match path.suffix:
        case ".parquet":
            table.frame.write_parquet(path, compression="zstd")
        case ".jsonl" | ".ndjson":
            table.frame.write_ndjson(path)
        case _:
            raise ConfigError(f"{path}: an outcome table is .parquet or .jsonl")


def _parquet(path: Path) -> Outcomes:
    try:
        frame = pl.read_parquet(path)
    except (PolarsError, OSError) as error:
        raise ConfigError(f"{path}: not a Parquet file: {error}") from error
    if missing := [name for name in REQUIRED if name not in frame.columns]:
        raise ConfigError(f"{path}: column {', '.join(missing)} is missing")
    wanted = [
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in COLUMNS.items()
    ]
    try:
        typed = frame.select(wanted)
    except PolarsError:
        raise ConfigError(f"{path}: {_unfit(frame, wanted)}") from None
    return checked(typed.with_row_index(ROW, 1), str(path))


def _unfit(frame: pl.DataFrame, wanted: Iterable[pl.Expr]) -> str:
    """Which column does not have its type, and in which row that is seen."""
    for name, kind, column in zip(COLUMNS, COLUMNS.values(), wanted, strict=True):
        try:
            frame.select(column)
        except PolarsError:
            is_now = frame[name].dtype
            try:
                lost = frame[name].cast(kind, strict=False).is_null() & frame[name].is_not_null()
                return f"row {lost.arg_true()[0] + 1}: {name} is {frame[name][lost.arg_true()[0]]!r}, not {kind}"
            except PolarsError:
                return f"column {name} holds {is_now}, not {kind}"
    return "its columns do not have the right types"


def _json_lines(path: Path) -> Outcomes:
    def rows() -> Iterable[tuple[int, dict[str, Any] | str]]:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    yield number, msgspec.structs.asdict(_DECODER.decode(line))
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    yield number, str(error)

    return from_rows(rows(), str(path))
