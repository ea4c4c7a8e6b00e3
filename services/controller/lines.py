"""The output of the children, line by line: cut, cleaned, and put into the form a person or a log collector reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_LINE_BYTES = 16 * 1024
_SHOWN_FIRST = frozenset({"component", "level", "timestamp", "event", "exception"})


class LineSplitter:
    """Turns a stream of bytes into lines. A line without an end is cut at `MAX_LINE_BYTES`, so memory is bounded."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = [part for line in whole for part in _cut(line)]
        if len(self._rest) >= MAX_LINE_BYTES:
            *full, self._rest = _cut(self._rest)
            lines += full
        return [clean(line.decode("utf-8", "replace")) for line in lines]

    def end(self) -> list[str]:
        """What is left when the stream has ended."""
        rest, self._rest = self._rest, b""
        return [clean(rest.decode("utf-8", "replace"))] if rest else []


def _cut(line: bytes) -> list[bytes]:
    return [line[start : start + MAX_LINE_BYTES] for start in range(0, len(line), MAX_LINE_BYTES)] or [b""]


def clean(line: str) -> str:
    """Without control characters: a log line holds text from strangers, and a terminal obeys escape sequences."""
    return "".join(c if c == "\t" or c.isprintable() else "\ufffd" for c in line.rstrip("\r\n"))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a child.

    Attributes:
        level: of structlog's names; `out` for what was not logged but printed.
        event: the text, or the name of the event.
        fields: what the event carries besides.
    """

    level: str
    event: str
    fields: dict[str, Any]
    exception: str = ""

    @property
    def reason(self) -> str:
        """Why a component refused to start, if this line says so."""
        return str(self.fields.get("reason", "")) if self.event == "cannot_start" else ""

    @property
    def text(self) -> str:
        """For a person: `event key=value ...`."""
        return " ".join([self.event, *(f"{key}={_plain(value)}" for key, value in self.fields.items())])


def read_line(text: str) -> Line:
    """A line as its child meant it: a structured one where it is our JSON, else plain text."""
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, dict) and "event" in found and "level" in found:
            return Line(
                level=str(found["level"]),
                event=clean(str(found["event"])),
                fields={key: value for key, value in found.items() if key not in _SHOWN_FIRST},
                exception=str(found.get("exception", "")),
            )
    return Line("out", text, {})


def _plain(value: Any) -> str:
    text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text


def printable(text: str) -> str:
    """Text for a terminal: line feeds and tabs stay, other control characters do not."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)
