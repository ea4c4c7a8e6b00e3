"""Prints tables: as wide as the terminal, and wide enough for their columns where output goes to a file."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_FILE_WIDTH = 200


def show(table: Table) -> None:
    """Print it on standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    console.print(table)
