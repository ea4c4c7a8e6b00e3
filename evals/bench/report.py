"""The result of a run: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from evals.bench.machine import Machine
from evals.bench.samples import LITELLM, LOADS, MOCK, TURNOUT, Sample, Spread, Target, spreads

FLOOR = "floor"

_HEADINGS = {
    "rps": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "streams_s": "streams/s",
    "ttft_p50_ms": "TTFT p50 ms",
    "ttft_p99_ms": "TTFT p99 ms",
    "cpu_ms": "CPU ms each",
}
_DIGITS_FROM = (100.0, 10.0)


@dataclass(frozen=True, slots=True)
class Floor:
    """What cannot be beaten on this machine, and how far above it we are. Milliseconds, median of the rounds.

    Attributes:
        http_nats_ms: p50 of HTTP -> NATS -> an echoing worker -> back, one connection.
        graph_ms: p50 of a three-node graph.
        added_ms: p50 that Turnout adds to the mock's with one connection, by its way.
    """

    http_nats_ms: Spread
    graph_ms: Spread
    added_ms: dict[str, float]

    @property
    def sum_ms(self) -> float:
        """Both parts in a row."""
        return self.http_nats_ms.median + self.graph_ms.median


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one run has found out."""

    machine: Machine
    settings: dict[str, Any]
    samples: Sequence[Sample]
    targets: Sequence[Target]
    floor: Floor | None

    def as_json(self) -> dict[str, Any]:
        """For `--out`: the summary and every sample behind it."""
        summary = [
            {"system": system, "load": load, **{metric: asdict(spread) for metric, spread in metrics.items()}}
            for (system, load), metrics in spreads(self.samples).items()
        ]
        floor = None if self.floor is None else asdict(self.floor) | {"sum_ms": self.floor.sum_ms}
        return {
            "machine": self.machine.as_json(),
            "settings": self.settings,
            "summary": summary,
            "targets": [asdict(target) for target in self.targets],
            "floor": floor,
            "samples": [asdict(sample) for sample in self.samples],
        }


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    loads = [sample.load_average for sample in report.samples]
    busy = f"load average {min(loads):.1f} to {max(loads):.1f} (1 minute) while measuring" if loads else ""
    console.print(f"{report.machine.cpu}, {report.machine.cores} cores, {report.machine.system}; {busy}", style="dim")
    found = spreads(report.samples)
    for load in LOADS:
        rows = {system: metrics for (system, of), metrics in found.items() if of == load.name and system != FLOOR}
        if rows:
            what = (
                "concurrent SSE streams" if load.streamed else "connections" if load.connections > 1 else "connection"
            )
            console.print(_table(f"{load.connections} {what}", rows, streamed=load.streamed))
    if report.floor is not None:
        _show_floor(report.floor, console)
    if report.targets:
        console.print(targets_table("Targets (the slower of Turnout's ways, the best of LiteLLM's)", report.targets))


def _table(title: str, rows: dict[str, dict[str, Spread]], *, streamed: bool) -> Table:
    """One load: a line for each system, with what it adds to the mock."""
    columns = ("streams_s", "ttft_p50_ms", "ttft_p99_ms") if streamed else ("rps", "p50_ms", "p99_ms")
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("system")
    for metric in columns:
        table.add_column(_HEADINGS[metric], justify="right")
    table.add_column(f"added {'TTFT ' if streamed else ''}p50 / p99", justify="right")
    table.add_column(_HEADINGS["cpu_ms"], justify="right")
    base = rows.get(MOCK)
    for system, metrics in rows.items():
        added = (
            ""
            if base is None or system == MOCK
            else " / ".join(number_text(metrics[metric].median - base[metric].median) for metric in columns[1:])
        )
        style = "green" if system.startswith(TURNOUT) else "yellow" if system.startswith(LITELLM) else "dim"
        cells = [spread_text(metrics[metric]) for metric in columns]
        cpu = number_text(metrics["cpu_ms"].median) if "cpu_ms" in metrics else ""
        table.add_row(system, *cells, added, cpu, style=style)
    return table


def _show_floor(floor: Floor, console: Console) -> None:
    console.print(
        f"Floor: HTTP -> NATS -> worker {floor.http_nats_ms.median:.2f} ms, a three-node graph "
        f"{floor.graph_ms.median:.2f} ms, together {floor.sum_ms:.2f} ms."
    )
    for way, added_ms in floor.added_ms.items():
        console.print(
            f"  {way} adds {added_ms:.2f} ms to the upstream: {added_ms / floor.sum_ms:.1f} times that, "
            f"{added_ms - floor.sum_ms:.2f} ms above it"
        )


def targets_table(title: str, targets: Sequence[Target]) -> Table:
    """Each promise, and whether it was kept."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("target", "wanted", "measured", ""):
        table.add_column(heading)
    for target in targets:
        verdict = "[green]met[/green]" if target.met else "[red]missed[/red]"
        table.add_row(target.name, target.wanted, spread_text(target.measured), verdict)
    return table


def spread_text(spread: Spread) -> str:
    """The median, and the least and most if there is more than one round."""
    if spread.least == spread.most:
        return number_text(spread.median)
    return f"{number_text(spread.median)} ({number_text(spread.least)}..{number_text(spread.most)})"


def number_text(value: float) -> str:
    """Three significant digits or so."""
    digits = next((index for index, least in enumerate(_DIGITS_FROM) if abs(value) >= least), len(_DIGITS_FROM))
    return f"{value:,.{digits}f}"
