"""The command line `turnout`: what its commands are called and take. What they do is in the modules they load.

Nothing of that is imported before its command runs, so that `--help` is quick.
"""

# ruff: noqa: PLC0415 - each command loads what it needs, so that `--help` stays quick

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

EXIT_FAILURE = 1
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG
EXIT_INTERRUPTED = 130

_EPILOG = """\
[bold]A first round[/bold]

  turnout up                                      start everything on this machine; Ctrl-C stops it

  turnout ask "Why is the sky blue?"              in a second terminal: the router chooses who answers

  turnout ingest docs/ && turnout ask "How do I add a component?" --model docs

  turnout status                                  who runs, what it has done and what that cost

  turnout apply turnout.yaml                      change what runs, while requests run
"""

app = typer.Typer(
    name="turnout",
    help="Sends each request to the cheapest AI component that can do the job.",
    epilog=_EPILOG,
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[
    str,
    typer.Option("--url", envvar="TURNOUT_URL", help="Where Turnout answers. Default: this machine, at $TURNOUT_PORT."),
]


@app.command(
    epilog="turnout up\n\nTURNOUT_PORT=9000 turnout up --config other.yaml",
)
def up(
    config: Annotated[Path, typer.Option("--config", "-c", help="What should run.")] = Path("turnout.yaml"),
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Instead of $TURNOUT_PORT and the configuration's; 0: a free one."),
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where the bus keeps its files. Default: .turnout beside the configuration.")
    ] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop as well when the process that started this one ends.")
    ] = False,
) -> None:
    """Start the bus and every component, each a process of its own, and stop them all at Ctrl-C.

    Prints one line when everything serves. What dies is started again. Exit code 78 means that the configuration
    cannot be used; the message has the file and the line.
    """
    from services.controller.screen import Screen
    from services.controller.up import Options
    from services.controller.up import up as run_up

    code = _guarded(lambda: run_up(Options(config, port, state_dir, with_parent=with_parent), Screen()))
    raise typer.Exit(code)


@app.command(epilog="turnout status --watch\n\nturnout status --json | jq '.components[].generations'")
def status(
    url: Url = "",
    as_json: Annotated[bool, typer.Option("--json", help="As the gateway gives it, for programs.")] = False,
    follow: Annotated[bool, typer.Option("--watch", "-w", help="Keep it current until Ctrl-C.")] = False,
) -> None:
    """Show the components, their instances, and what they have done."""
    from services.controller.client import Client
    from services.controller.status import show, watch

    if follow and as_json:
        raise typer.BadParameter("--watch and --json exclude each other")
    if follow:
        raise typer.Exit(_guarded(lambda: watch(Client.make(url))))
    raise typer.Exit(_guarded(lambda: show(Client.make(url), as_json=as_json)))


@app.command(
    epilog='turnout ask "What is 17% of 4,310?" --model tools\n\n'
    'turnout ask "What is the total?" --image invoice.png\n\n'
    "git diff | turnout ask - --privacy local\n\n"
    'turnout ask "Prove that there are infinitely many primes." --quality 0.9 --max-cost 0.01'
)
def ask(
    question: Annotated[str, typer.Argument(help="The question; `-` reads it from standard input.")],
    image: Annotated[list[Path] | None, typer.Option("--image", "-i", help="An image to look at; repeatable.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="`auto`, or a component's name.")] = "auto",
    quality: Annotated[
        float | None, typer.Option(min=0, max=1, help="How likely a good answer has to be, 0 to 1.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option("--max-cost", min=0, help="Most it may cost, in USD.")] = None,
    privacy: Annotated[str | None, typer.Option(help="`local`: it must not leave your machines; or `any`.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON, not streamed.")] = False,
    url: Url = "",
) -> None:
    """Ask a question; the answer streams in, followed by who answered, what it cost and how long it took."""
    from services.controller.ask import Question
    from services.controller.ask import ask as run_ask
    from services.controller.client import Client

    asked = Question(question, tuple(image or ()), model, quality, max_cost, privacy, max_tokens)
    raise typer.Exit(_guarded(lambda: run_ask(Client.make(url), asked, as_json=as_json)))


@app.command(epilog='turnout ingest handbook.pdf notes/\n\nturnout ask "Who approves travel?" --model docs')
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders to search: text, Markdown, HTML, PDF.")],
    url: Url = "",
) -> None:
    """Put documents into the index. Ingesting a file again replaces it."""
    from services.controller.client import Client
    from services.controller.ingest import ingest as run_ingest

    raise typer.Exit(_guarded(lambda: run_ingest(Client.make(url), paths)))


@app.command(epilog="turnout check turnout.yaml")
def check(
    file: Annotated[Path, typer.Argument(help="A configuration.")] = Path("turnout.yaml"),
) -> None:
    """Say whether a configuration can be used, and if not, where and why. Starts nothing."""
    from services.controller.check import check as run_check

    raise typer.Exit(_guarded(lambda: run_check(file)))


@app.command(epilog="turnout diff new.yaml && turnout apply new.yaml")
def apply(
    file: Annotated[Path, typer.Argument(help="The configuration that is to be in force.")] = Path("turnout.yaml"),
    after: Annotated[
        int | None, typer.Option(min=1, help="Only if this revision is still in force (see `turnout history`).")
    ] = None,
    url: Url = "",
) -> None:
    """Change what runs to what a file says, while requests run. All of it is done, or nothing.

    New instances load and answer a probe before they serve; the old ones then finish what they do. Saving the file that
    `turnout up` was started with does the same.
    """
    from services.controller.client import Client
    from services.controller.operate import apply as run_apply

    raise typer.Exit(_guarded(lambda: run_apply(Client.make(url), file, after)))


@app.command(epilog="turnout diff turnout.yaml")
def diff(file: Annotated[Path, typer.Argument(help="A configuration.")] = Path("turnout.yaml"), url: Url = "") -> None:
    """Show what `turnout apply` would change, and how each change takes effect. Changes nothing."""
    from services.controller.client import Client
    from services.controller.operate import diff as run_diff

    raise typer.Exit(_guarded(lambda: run_diff(Client.make(url), file)))


@app.command(epilog="turnout history")
def history(url: Url = "") -> None:
    """List the configurations that were in force, newest first."""
    from services.controller.client import Client
    from services.controller.operate import history as run_history

    raise typer.Exit(_guarded(lambda: run_history(Client.make(url))))


@app.command(epilog="turnout rollback\n\nturnout rollback 12")
def rollback(
    revision: Annotated[int | None, typer.Argument(min=1, help="Which; without it the one before.")] = None,
    url: Url = "",
) -> None:
    """Go back to an earlier configuration, in the same way as `turnout apply`. The file itself stays as it is."""
    from services.controller.client import Client
    from services.controller.operate import rollback as run_rollback

    raise typer.Exit(_guarded(lambda: run_rollback(Client.make(url), revision)))


@app.command(epilog="turnout scale small=3")
def scale(
    target: Annotated[str, typer.Argument(metavar="NAME=N", help="A component, and how many instances of it.")],
    url: Url = "",
) -> None:
    """Run so many instances of a component, within the `replicas` of its section."""
    from services.controller.client import Client
    from services.controller.operate import scale as run_scale

    raise typer.Exit(_guarded(lambda: run_scale(Client.make(url), target)))


@app.command(epilog="turnout events\n\nturnout events -f")
def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
    url: Url = "",
) -> None:
    """Show what has happened to what runs: loads, probes, swaps, refusals, ends."""
    from services.controller.client import Client
    from services.controller.operate import events as run_events

    raise typer.Exit(_guarded(lambda: run_events(Client.make(url), follow=follow)))


@app.command(epilog="turnout schema > turnout.schema.json")
def schema() -> None:
    """Print the JSON schema of the configuration, for editors."""
    from services.controller.schema import text

    typer.echo(text(), nl=False)


@app.command(epilog="turnout nats-conf turnout.yaml > compose/nats/nats.conf")
def nats_conf(file: Annotated[Path, typer.Argument(help="A configuration.")] = Path("turnout.yaml")) -> None:
    """Print the configuration of a NATS server whose users are the components of a file, each with its own rights."""
    from services.contracts.catalog_file import load
    from services.controller.bus_rights import server_configuration

    def show() -> int:
        typer.echo(server_configuration(load(file)), nl=False)
        return 0

    raise typer.Exit(_guarded(show))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"turnout {installed('turnout')}")


def _guarded(command: Callable[[], int]) -> int:
    """Run a command; an error of ours is a message and an exit code, never a traceback."""
    from services.contracts.errors import ConfigError, TurnoutError

    try:
        return command()
    except TurnoutError as error:
        typer.echo(error.message, err=True)
        return EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILURE


def offer_more(to: typer.Typer) -> None:
    """Add the commands and groups of them that other packages offer under the entry point `turnout.commands`.

    One whose extra is not installed says so with an ImportError when it is loaded, and is left out.
    """
    from importlib.metadata import entry_points

    for offered in entry_points(group="turnout.commands"):
        with contextlib.suppress(ImportError):
            found = offered.load()
            if isinstance(found, typer.Typer):
                to.add_typer(found, name=offered.name)
            else:
                to.command(offered.name)(found)


def main() -> None:
    """The entry point of the program."""
    offer_more(app)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
