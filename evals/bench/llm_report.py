"""The result of a run of `make bench-llm` as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from evals.bench.llm_samples import LONG_PROMPT, ONE_WORD, SECOND_TURN, STREAMS, load_name
from evals.bench.llm_systems import RAW, TURNOUT
from evals.bench.report import Report, number_text, spread_text, targets_table
from evals.bench.samples import Spread, spreads

_COLUMNS = {
    "tps": "tokens/s",
    "ttft_p50_ms": "TTFT p50 ms",
    "ttft_p95_ms": "TTFT p95 ms",
    "tpot_p50_ms": "a token p50 ms",
    "tpot_p99_ms": "a token p99 ms",
    "cpu_ms": "CPU ms a token",
}
_SCENARIOS = {
    SECOND_TURN: "A second turn on a shared prefix of about 1,000 tokens",
    LONG_PROMPT: "Four streams beside a prompt of about 1,500 tokens",
    ONE_WORD: "One word behind a cached instruction",
}


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    loads = [sample.load_average for sample in report.samples]
    busy = f"load average {min(loads):.1f} to {max(loads):.1f} (1 minute) while measuring" if loads else ""
    console.print(f"{report.machine.cpu}, {report.machine.cores} cores, {report.machine.system}; {busy}", style="dim")
    console.print(f"{report.settings['model']}, {report.settings['tokens']} tokens an answer, greedy", style="dim")
    found = spreads(report.samples)
    for streams in STREAMS:
        rows = {system: metrics for (system, load), metrics in found.items() if load == load_name(streams)}
        if rows:
            console.print(_table(f"{streams} stream{'s' if streams > 1 else ''}", rows))
    for (system, load), metrics in found.items():
        if load in _SCENARIOS:
            told = ", ".join(f"{name} {spread_text(spread)}" for name, spread in metrics.items())
            console.print(f"{_SCENARIOS[load]} ({system}): {told}", highlight=False)
    if report.targets:
        console.print(targets_table("Targets (ratios within a round, median of the rounds)", report.targets))


def _table(title: str, rows: dict[str, dict[str, Spread]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("system")
    for heading in _COLUMNS.values():
        table.add_column(heading, justify="right")
    for system, metrics in rows.items():
        cells = [
            (spread_text if name == "tps" else _median)(metrics[name]) if name in metrics else "" for name in _COLUMNS
        ]
        table.add_row(system, *cells, style="green" if system == TURNOUT else "dim" if system == RAW else "yellow")
    return table


def _median(spread: Spread) -> str:
    return number_text(spread.median)
