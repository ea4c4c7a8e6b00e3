"""How a proof begins and ends: its options; what was wrong, whether it holds, and a file with the figures."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console


@dataclass(kw_only=True)
class Findings:
    """What a proof has found. `problems` is empty when it holds."""

    problems: list[str] = field(default_factory=list)


def options(name: str, what: str | None, clients: int) -> argparse.ArgumentParser:
    """A parser with the options that all proofs have. `what` it does, in its module's words."""
    parser = argparse.ArgumentParser(
        prog=f"prove-{name}", description=what, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=clients)
    parser.add_argument("--out", type=Path, default=Path(f".bench/{name}.json"))
    return parser


def conclude(findings: Findings, out: Path, console: Console) -> int:
    """Say it and write it down; returns the exit code."""
    for problem in findings.problems:
        console.print(problem, style="red", markup=False)
    console.print("BROKEN" if findings.problems else "holds", style="bold red" if findings.problems else "bold green")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(asdict(findings), indent=2))
    return 1 if findings.problems else 0
