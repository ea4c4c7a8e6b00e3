"""How a proof ends: what was wrong, whether it holds, and a file with the figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def conclude(report: DataclassInstance, problems: Sequence[str], out: Path, console: Console) -> int:
    """Say it and write it down; returns the exit code."""
    for problem in problems:
        console.print(problem, style="red", markup=False)
    console.print("BROKEN" if problems else "holds", style="bold red" if problems else "bold green")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(asdict(report), indent=2))
    return 1 if problems else 0
