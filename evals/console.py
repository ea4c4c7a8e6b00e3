"""Prints tables: as wide as the terminal, and wide enough for their columns where output goes to a file."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console
from rich.table import Table

_FILE_WIDTH = 200
_WIDEST = 10_000


def show(table: Table, file: TextIO | None = None) -> None:
    """Print it, by default on standard output. Names are printed as they are: rich's own marks mean nothing in them."""
    file = sys.stdout if file is None else file
    console = Console(file=file, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(_FILE_WIDTH, _natural_width(table))
    console.print(table)


def _natural_width(table: Table) -> int:
    return Console(width=_WIDEST, markup=False, emoji=False).measure(table).maximum
