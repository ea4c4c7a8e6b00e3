"""A place that cannot be written to is told before the work, in a line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import evals.routing.run
from evals import out
from evals.cli import app
from services.contracts.errors import ConfigError
from tests.evals.routing.support import table

CLI = CliRunner()
PLAN = "rates: [1]\ncomponents:\n  a: {share: 1, service_s: {p50: 0.1}}\n"


def test_routing_does_not_work_for_a_report_that_it_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evals.routing.run, "evaluate", lambda *_: pytest.fail("it worked first"))
    taken = tmp_path / "taken"
    taken.touch()

    result = CLI.invoke(app, ["routing", "--train", str(table(tmp_path / "t.parquet", 80)), "--out", str(taken)])

    assert result.exit_code == 78, result.output
    assert str(taken) in result.output
    assert "Traceback" not in result.output


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    (plan := tmp_path / "plan.yaml").write_text(PLAN)
    report = tmp_path / "new" / "points.json"

    assert CLI.invoke(app, ["simulate", str(plan), "--out", str(report)]).exit_code == 0
    assert report.is_file()


def test_an_imported_table_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.parquet").mkdir()
    source = tmp_path / "log.jsonl"
    source.write_text('{"id": "a", "component": "small", "prompt": "Hello", "quality": 1}\n')

    result = CLI.invoke(app, ["import", "turnout", str(source), "--out", str(tmp_path / "folder.parquet")])

    assert result.exit_code == 78, result.output
    assert "folder.parquet" in result.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_is_read_only_is_told(tmp_path: Path) -> None:
    (closed := tmp_path / "closed").mkdir(mode=0o500)
    (file := tmp_path / "file.json").touch(mode=0o400)

    with pytest.raises(ConfigError, match="cannot be written"):
        out.folder(closed)
    with pytest.raises(ConfigError, match="cannot be written"):
        out.file(file)


def test_a_file_where_a_folder_stands_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a folder, where a file"):
        out.file(tmp_path)
