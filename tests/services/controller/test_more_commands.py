"""Other packages add command groups by entry point; one that cannot be imported is not offered."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from services.controller.cli import offer_more


def _offers(monkeypatch: pytest.MonkeyPatch, **groups: str) -> typer.Typer:
    found = [EntryPoint(name, value, "turnout.commands") for name, value in groups.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: found)
    app = typer.Typer()
    app.command("own")(lambda: None)
    offer_more(app)
    return app


def test_an_offered_group_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    app = _offers(monkeypatch, eval="evals.cli:app")

    shown = CliRunner().invoke(app, ["eval", "--help"])

    assert shown.exit_code == 0
    assert "routing" in shown.output


def test_an_offered_function_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    app = _offers(monkeypatch, train="evals.train.cli:train")

    shown = CliRunner().invoke(app, ["train", "--help"])

    assert shown.exit_code == 0
    assert "--tier" in shown.output


def test_a_group_whose_extra_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    app = _offers(monkeypatch, broken="evals.no_such_module:app")

    shown = CliRunner().invoke(app, ["--help"])

    assert shown.exit_code == 0
    assert "broken" not in shown.output
