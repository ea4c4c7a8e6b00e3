"""Tables and bars show names as they are, whole."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from evals import progress
from evals.console import show

ODD = "[/bold] org/[red]model:smile:"


def test_a_name_is_no_markup() -> None:
    table = Table(ODD)
    table.add_row(ODD)
    out = io.StringIO()

    show(table, out)

    assert out.getvalue().count(ODD) == 2


def test_in_a_file_no_cell_is_cut_or_broken() -> None:
    table = Table(*(f"a heading of some length {i}" for i in range(12)))
    cells = [f"a cell longer than its heading is, number {i}" for i in range(12)]
    table.add_row(*cells)
    out = io.StringIO()

    show(table, out)

    assert all(cell in out.getvalue() for cell in cells)


def test_a_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stderr", shown)

    with progress.bar(1) as tell:
        tell(f"{ODD}: training")

    assert ODD in shown.getvalue()
