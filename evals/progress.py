"""A bar for what takes more than a moment: on a terminal only, and on standard error, so that output can be piped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Tell = Callable[[str], None]


def silent(_: str) -> None:
    """Tell nobody."""


@contextmanager
def bar(steps: int) -> Iterator[Tell]:
    """A bar of so many steps. Whoever calls what it gives says what begins; the step before is then done."""
    counted = TextColumn("{task.completed:.0f}/{task.total:.0f}")
    columns = (BarColumn(bar_width=24), counted, TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=steps)
        begun = False

        def tell(what: str) -> None:
            nonlocal begun
            shown.update(task, description=what, advance=1 if begun else 0)
            begun = True

        yield tell
