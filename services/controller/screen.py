"""What `turnout up` shows: the children's lines under their names, and the state of things while it starts.

Lines go to standard error, the ready message to standard output. `rich` is loaded only where there is a terminal.
A line that cannot be written, to a full disk or to a reader who has left, is lost; what runs must not end by that.
"""

# ruff: noqa: PLC0415 - rich is loaded only where there is a terminal

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import structlog

from services.controller.lines import Line, read_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

OWN_NAME = "turnout"
_COLOURS = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta", "bright_green")
_LEVEL_STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red", "debug": "dim"}


class Screen:
    """Owned by the parent's event loop; nothing else writes to its terminal while it runs."""

    def __init__(
        self, stream: TextIO | None = None, out: TextIO | None = None, *, width: int = 0, as_json: bool | None = None
    ) -> None:
        """`width` is that of the longest name, so that the lines stand aligned."""
        self._stream = stream or sys.stderr
        self._out = out or sys.stdout
        self._width = max(width, len(OWN_NAME))
        self._as_json = os.environ.get("TURNOUT_LOG_FORMAT") == "json" if as_json is None else as_json
        self._terminal = self._stream.isatty() and not self._as_json
        self._least = _level()
        self._lost = 0  # lines
        self._live: Live | None = None
        self._status = ""

    @property
    def terminal(self) -> bool:
        """Whether a person is watching."""
        return self._terminal

    def align(self, names: list[str]) -> None:
        """Make room for these names."""
        self._width = max([self._width, *map(len, names)])

    def child(self, name: str, text: str) -> Line:
        """Show a line of a child; returns what it said."""
        line = read_line(text)
        if not self._as_json:
            self._print(name, line)
        elif line.level == "out":
            self._write_json(name, "info", text)
        else:
            self._put(text)
        return line

    def say(self, text: str, level: str = "info") -> None:
        """A line of the parent itself, if its level is one to be shown."""
        if getattr(logging, level.upper()) < self._least:
            return
        if self._as_json:
            self._write_json(OWN_NAME, level, text)
        else:
            self._print(OWN_NAME, Line(level, text, {}))

    def take_own_logs(self) -> None:
        """Show what this process itself logs (the bus, the roster) like everything else."""
        structlog.configure(
            processors=[structlog.processors.add_log_level, self._take_own],
            wrapper_class=structlog.make_filtering_bound_logger(self._least),
        )

    def _take_own(self, _logger: object, _method: str, record: MutableMapping[str, Any]) -> NoReturn:
        level, event = str(record.pop("level")), str(record.pop("event"))
        self.say(Line(level, event, dict(record)).text, level)
        raise structlog.DropEvent

    def announce(self, text: str) -> None:
        """The message on standard output that others wait for."""
        self.status("")
        with contextlib.suppress(OSError):
            print(text, file=self._out, flush=True)

    def status(self, text: str) -> None:
        """What is still awaited: a line that stays below all others; empty takes it away. Terminals only."""
        if not self._terminal or text == self._status:
            self._refresh()
            return
        self._status = text
        with contextlib.suppress(OSError):
            self._show_status(text)

    def _show_status(self, text: str) -> None:
        if text and self._live is None:
            self._live = _new_live(self._stream)
            self._live.start()
        if self._live is not None:
            if not text:
                self._live.stop()
                self._live = None
            else:
                self._live.update(_spinner(text), refresh=True)

    def _refresh(self) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.refresh()

    def _print(self, name: str, line: Line) -> None:
        level = "" if line.level in ("out", "info") else f"{line.level}: "
        body = [f"{level}{line.text}", *line.exception.splitlines()]
        for text in body:
            if self._terminal:
                with contextlib.suppress(OSError):
                    self._print_coloured(name, text, line.level)
            else:
                self._put(f"{name:<{self._width}} | {text}")

    def _print_coloured(self, name: str, text: str, level: str) -> None:
        from rich.text import Text

        colour = "white" if name == OWN_NAME else _COLOURS[sum(name.encode()) % len(_COLOURS)]
        prefix = Text(f"{name:<{self._width}} | ", style=colour)
        console = self._live.console if self._live is not None else _console(self._stream)
        console.print(prefix + Text(text, style=_LEVEL_STYLES.get(level, "")), soft_wrap=True)

    def _write_json(self, name: str, level: str, text: str) -> None:
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")  # as the children write it
        record = {"component": name, "event": text, "level": level, "timestamp": at}
        self._put(json.dumps(record, ensure_ascii=False))

    def _put(self, text: str) -> None:
        try:
            print(text, file=self._stream, flush=True)
        except OSError:
            self._lost += 1
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self.say(f"{lost} lines before this one could not be written here", "warning")


def _level() -> int:
    """What `TURNOUT_LOG` says, for this process as for its children."""
    return int(getattr(logging, os.environ.get("TURNOUT_LOG", "info").upper(), logging.INFO))


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False)


def _new_live(stream: TextIO) -> Live:
    from rich.live import Live

    # No thread of its own: children are forked from this process, and a fork beside a thread is asking for trouble.
    return Live(
        console=_console(stream), auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    )


def _spinner(text: str) -> Spinner:
    from rich.spinner import Spinner

    return Spinner("dots", text=text)
