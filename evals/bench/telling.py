"""What a benchmark is at: on a terminal one line that changes, elsewhere a line for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from evals.progress import Tell


@contextmanager
def telling(console: Console) -> Iterator[Tell]:
    """Gives what says it. What stands behind a bracket, as the seconds so far, is shown on a terminal only."""
    # No refreshing thread: children are forked with a `preexec_fn`, which must not meet one.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        told = ""

        def tell(what: str) -> None:
            nonlocal told
            begins = what.partition(" (")[0]
            if console.is_terminal:
                live.update(Text(f"… {what}", style="dim"), refresh=True)
            elif begins != told:
                told = begins
                console.print(what, style="dim", highlight=False)

        yield tell
