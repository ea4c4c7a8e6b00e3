"""Outcome tables are read strictly: what cannot be used is named by file and row, and the rest is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evals.outcomes.read import from_rows, read_table, read_tables, write_table
from evals.outcomes.tell import accept
from services.contracts.errors import ConfigError

ROW: dict[str, Any] = {
    "source": "test",
    "prompt_id": "a",
    "prompt": "What is it?",
    "task": "",
    "model": "m",
    "quality": 1.0,
    "cost_usd": 0.001,
    "input_tokens": 3,
    "output_tokens": 4,
    "latency_s": 0.5,
}


def _parquet(path: Path, *rows: dict[str, Any]) -> Path:
    pl.DataFrame([{**ROW, **row} for row in rows], infer_schema_length=None).write_parquet(path)
    return path


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_what_was_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    table = from_rows([(1, ROW), (2, {**ROW, "model": "n", "cost_usd": None})], "rows")

    write_table(table, tmp_path / f"t.{suffix}")

    again = read_table(tmp_path / f"t.{suffix}")
    assert again.bad == ()
    assert again.frame.equals(table.frame)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"quality": 1.5}, "quality is not within 0..1"),
        ({"quality": float("nan")}, "quality is not within 0..1"),
        ({"quality": None}, "quality is missing"),
        ({"prompt": ""}, "prompt is empty"),
        ({"cost_usd": -0.1}, "cost_usd is negative or not finite"),
        ({"cost_usd": float("inf")}, "cost_usd is negative or not finite"),
        ({"output_tokens": -1}, "output_tokens is negative or not finite"),
        ({"prompt_id": "a", "prompt": "Another?", "model": "n"}, "another prompt has this prompt_id"),
        ({"prompt_id": "a", "model": "m"}, "this prompt_id and model were there before"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_kept(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = _parquet(tmp_path / "t.parquet", {}, {"prompt_id": "b", **change}, {"prompt_id": "c"})

    table = read_table(path)

    assert [str(bad) for bad in table.bad] == [f"{path}:2: {reason}"]
    assert table.frame["prompt_id"].to_list() == ["a", "c"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines = [json.dumps(ROW), "{nonsense", "", json.dumps({**ROW, "prompt_id": "b", "quality": "good"})]
    path.write_text("\n".join(lines))

    table = read_table(path)

    assert [bad.row for bad in table.bad] == [2, 4]
    assert "`float`" in table.bad[1].reason
    assert table.frame.height == 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.parquet", b"PAR1 not really", "not a Parquet file"),
        ("t.csv", b"a,b", "an outcome table is .parquet or .jsonl"),
    ],
)
def test_what_is_no_table_is_an_error_with_its_name(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=says):
        read_table(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"quality": "good"}, "t.parquet: row 1: quality is 'good', not Float64"),
        ({"prompt": ["Hello"]}, r"t.parquet: column prompt holds List\(String\), not String"),
    ],
)
def test_a_column_of_another_type_is_named_in_a_line(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    pl.DataFrame([{**ROW, **change}]).write_parquet(tmp_path / "t.parquet")

    with pytest.raises(ConfigError, match=says) as refused:
        read_table(tmp_path / "t.parquet")
    assert "\n" not in str(refused.value)


def test_a_table_without_rows_is_named(tmp_path: Path) -> None:
    (path := tmp_path / "t.jsonl").touch()

    with pytest.raises(ConfigError, match=r"t\.jsonl: no row can be used"):
        accept(read_table(path), [path], skip=False)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    pl.DataFrame([{k: v for k, v in ROW.items() if k != "model"}]).write_parquet(tmp_path / "t.parquet")

    with pytest.raises(ConfigError, match="column model is missing"):
        read_table(tmp_path / "t.parquet")


def test_two_tables_may_not_tell_of_the_same_answer(tmp_path: Path) -> None:
    one = _parquet(tmp_path / "one.parquet", {})
    two = _parquet(tmp_path / "two.parquet", {"model": "n"}, {})

    table = read_tables([one, two])

    assert [(bad.file, bad.row) for bad in table.bad] == [(str(two), 2)]
    assert table.frame["model"].to_list() == ["m", "n"]
