"""`turnout eval`: what its commands are called and take. What they do is in the modules they load.

The command line of `turnout` finds this group by its entry point (`turnout.commands` in pyproject.toml). Where the
`evals` extra is not installed the import fails, and the group is not offered. `python -m evals.cli` is the same group.
"""

# ruff: noqa: PLC0415 - each command loads what it needs, so that `--help` stays quick

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

EXIT_FAILURE = 1
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG

if missing := [name for name in ("polars", "sklearn", "scipy", "matplotlib") if find_spec(name) is None]:
    raise ImportError(f"the evals extra is not installed: {', '.join(missing)}")

app = typer.Typer(
    name="eval",
    help="What would a policy cost, and how good would it be? Answered from recorded outcomes, before any request.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SkipBad = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Go on without rows that cannot be used; they are still named.")
]


@app.command("import", epilog="turnout eval import routerbench routerbench_0shot.pkl --out routerbench.parquet")
def import_(
    kind: Annotated[
        str,
        typer.Argument(help="routellm, routerbench, paretobandit, paretobandit-holdout, litellm, or turnout."),
    ],
    files: Annotated[list[Path], typer.Argument(help="Files of that kind.")],
    out: Annotated[Path, typer.Option("--out", help="The table to write: .parquet or .jsonl.")],
    skip_bad_rows: SkipBad = False,
) -> None:
    """Make an outcome table out of what others have recorded. Rows that cannot be used are named."""
    from evals.outcomes.importers import import_files
    from evals.outcomes.read import write_table
    from evals.outcomes.tell import accept

    def run() -> int:
        table = accept(import_files(kind, files), files, skip=skip_bad_rows)
        write_table(table, out)
        typer.echo(f"{out}: {table.frame.height:,} rows of {table.frame['prompt'].n_unique():,} prompts")
        return 0

    raise typer.Exit(guarded(run))


@app.command(
    epilog="turnout eval routing --train mine.parquet --out report\n\n"
    "turnout eval routing --train a.parquet --test b.parquet --weak mixtral --strong gpt-4 --out report",
)
def routing(
    train: Annotated[list[Path], typer.Option("--train", help="Outcome tables to learn from; repeatable.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for report.json, report.html and the plots.")],
    test: Annotated[
        list[Path] | None,
        typer.Option("--test", help="Tables to be judged on; repeatable. Default: a part of the prompts of --train."),
    ] = None,
    weak: Annotated[str | None, typer.Option(help="With --strong: compare only these two models.")] = None,
    strong: Annotated[str | None, typer.Option(help="The better and dearer of the two.")] = None,
    prices: Annotated[
        Path | None, typer.Option(help="YAML or JSON: model: {input_usd_per_mtok: …, output_usd_per_mtok: …}")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split and of the bootstrap.")] = 0,
    hold_out: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Without --test: the part of the prompts to test on.")
    ] = 0.3,
    budget: Annotated[
        list[float] | None,
        typer.Option("--budget", help="Compare the quality at this cost per 1K requests; repeatable."),
    ] = None,
    skip_bad_rows: SkipBad = False,
) -> None:
    """Compare policies on recorded outcomes: cost, quality, calibration, with 95% intervals."""
    from evals.routing.run import Asked, run

    asked = Asked(tuple(train), tuple(test or ()), weak, strong, prices, seed, hold_out, tuple(budget or ()), out)
    raise typer.Exit(guarded(lambda: run(asked, skip_bad_rows=skip_bad_rows)))


@app.command(epilog="turnout eval replay decisions.jsonl --policy cheaper.yaml")
def replay(
    log: Annotated[Path, typer.Argument(help="Decisions as JSON lines; see docs/evals.md for what to add to them.")],
    policy: Annotated[Path, typer.Option("--policy", help="YAML: rule, quality, max_cost_usd, deadline_s, without.")],
    out: Annotated[Path | None, typer.Option("--out", help="Also write the estimates as JSON.")] = None,
    skip_bad_rows: SkipBad = False,
) -> None:
    """Estimate what another policy would have cost on this traffic, how good and how slow it would have been."""
    from evals.replay.run import run

    raise typer.Exit(guarded(lambda: run(log, policy, out, skip_bad_rows=skip_bad_rows)))


@app.command(epilog="turnout eval check-replay outcomes.parquet")
def check_replay(
    table: Annotated[Path, typer.Argument(help="An outcome table in which every model has answered.")],
    logs: Annotated[int, typer.Option(min=2, help="How many logs to draw.")] = 100,
    decisions: Annotated[int, typer.Option(min=50, help="Decisions in each.")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Judge the replay's estimates where the truth is known: their error, and how often an interval holds it."""
    from evals.replay.check import run

    raise typer.Exit(guarded(lambda: run(table, logs, decisions, seed)))


@app.command(epilog="turnout eval simulate plan.yaml")
def simulate(
    plan: Annotated[Path, typer.Argument(help="YAML: components with service times, slots, replicas; and the rates.")],
    out: Annotated[Path | None, typer.Option("--out", help="Also write the points as JSON.")] = None,
) -> None:
    """Simulate the system as its load grows: latency, cost, refusals, how busy it is."""
    from evals.simulate.run import run

    raise typer.Exit(guarded(lambda: run(plan, out)))


@app.command(epilog="turnout up\n\nturnout eval check-simulate --component small")
def check_simulate(
    component: Annotated[str, typer.Option("--component", help="Whom to load; asked by this name.")],
    url: Annotated[
        str, typer.Option("--url", envvar="TURNOUT_URL", help="Where Turnout answers. Default: this machine.")
    ] = "",
    load: Annotated[
        list[float] | None,
        typer.Option("--load", help="Part of what it can do; repeatable. Default: 0.3, 0.6, 0.8, 0.95, 1.3."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long each load lasts.")] = 30.0,
    calls: Annotated[int, typer.Option(min=8, help="Requests that are measured alone.")] = 40,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the figures as JSON.")] = None,
) -> None:
    """Hold the simulation against a running system: it gets real load, and nothing else should use it meanwhile."""
    from evals.simulate.check import LOADS, run

    raise typer.Exit(guarded(lambda: run(url, component, tuple(load or LOADS), seconds, calls, out)))


@app.command(epilog="turnout up\n\nturnout eval live --out live-report")
def live(
    suite: Annotated[
        Path | None, typer.Option("--suite", help="YAML of cases. Default: the small one we ship.")
    ] = None,
    url: Annotated[
        str, typer.Option("--url", envvar="TURNOUT_URL", help="Where Turnout answers. Default: this machine.")
    ] = "",
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="cheapest, best, auto; repeatable. Default: all three.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.json and outcomes.jsonl.")] = None,
) -> None:
    """Ask a running Turnout a suite whose answers code can judge, under several policies."""
    from evals.live.run import run
    from evals.live.suite import SHIPPED

    chosen = tuple(policy or ("cheapest", "best", "auto"))
    raise typer.Exit(guarded(lambda: run(suite or SHIPPED, url, chosen, out)))


def guarded(command: Callable[[], int]) -> int:
    """Run a command; an error of ours is a message and an exit code, never a traceback."""
    from services.contracts.errors import ConfigError, TurnoutError

    try:
        return command()
    except TurnoutError as error:
        typer.echo(error.message, err=True)
        return EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILURE
    except OSError as error:
        if error.filename is None:  # of no file: a pipe that nobody reads, which the command line sees to
            raise
        typer.echo(f"{error.filename}: {error.strerror}", err=True)
        return EXIT_CONFIG


if __name__ == "__main__":
    app()
