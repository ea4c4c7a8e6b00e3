"""`turnout eval check-replay` as it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evals.cli import app
from evals.replay.estimate import Estimate, doubly_robust
from tests.evals.routing.support import table


def test_the_check_passes_on_a_known_world(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", 400)

    result = CliRunner().invoke(app, ["check-replay", str(path), "--logs", "40", "--decisions", "500"])

    assert result.exit_code == 0, result.output
    assert "intervals right" in result.output


def test_intervals_that_are_too_narrow_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sure(*args: Any, **kwargs: Any) -> Estimate:
        found = doubly_robust(*args, **kwargs)
        return Estimate(found.mean, found.mean, found.mean, found.effective, found.direct, found.modelled)

    monkeypatch.setattr("evals.replay.validate.doubly_robust", sure)

    result = CliRunner().invoke(app, ["check-replay", str(table(tmp_path / "t.parquet", 400)), "--logs", "20"])

    assert result.exit_code == 1
    assert "hold the truth in less than 90%" in result.output
