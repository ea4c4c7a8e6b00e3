"""`turnout ingest`: files and folders into the index, one by one, with a summary of what was refused.

Where the system is too busy to take a document, or the component that holds them is away, the run waits and tries that
document again. When its patience ends the run ends, and names what was not taken.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from services.contracts.errors import NotAuthorized, TurnoutError
from services.controller.client import Client, as_object, checked, error_message
from services.controller.deliver import Busy, Wait, deliver, waits_shown

MIMES = {
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".pdf": "application/pdf",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file to ingest. `source` is its name in the index."""

    path: Path
    source: str


@dataclass
class Summary:
    """What became of everything."""

    documents: int = 0
    passages: int = 0
    other_kinds: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    not_taken: list[str] = field(default_factory=list)
    why_not_taken: str = ""


def ingest(client: Client, paths: Sequence[Path]) -> int:
    """Send the documents; returns the exit code: 1 if any was refused or not taken.

    Raises:
        TurnoutError: nothing answers there, or lets us in.
    """
    summary = Summary()
    found = list(search(paths, summary))
    console = Console(stderr=True)
    with client.http() as http:
        _send_all(http, found, summary, console)
    print(f"{summary.documents} documents, {summary.passages} passages")  # noqa: T201 - the program's answer
    _tell(summary, len(found), console)
    return 1 if summary.refused or summary.not_taken else 0


def _send_all(http: httpx.Client, found: Sequence[Found], summary: Summary, console: Console) -> None:
    """Send one after the other. The first that nobody takes in time ends it: the rest would fare no better."""
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        bar = progress.add_task("ingesting", total=len(found))
        for number, document in enumerate(found):

            def show(wait: Wait, source: str = document.source) -> None:
                console.print(
                    f"waiting {wait.duration_s:.0f} s to send {escape(source)} again (try {wait.number + 1}): "
                    f"{escape(wait.reason)}",
                    highlight=False,
                    soft_wrap=True,
                )

            try:
                with waits_shown(show):
                    _send(http, document, summary)
            except Busy as error:
                summary.not_taken = [one.source for one in found[number:]]
                summary.why_not_taken = error.message
                return
            progress.advance(bar)


def _tell(summary: Summary, total: int, console: Console) -> None:
    if summary.other_kinds:
        console.print(f"{summary.other_kinds} files of other kinds were left out", highlight=False)
    for source, reason in summary.refused:
        console.print(f"[red]refused[/red] {escape(source)}: {escape(reason)}", highlight=False, soft_wrap=True)
    for source in summary.not_taken:
        console.print(f"[red]not taken[/red] {escape(source)}", highlight=False, soft_wrap=True)
    if summary.not_taken:
        console.print(
            f"{len(summary.not_taken)} of {total} documents were not taken: {escape(summary.why_not_taken)}. "
            "Run the same command again later; what is in the index already is replaced, not doubled.",
            highlight=False,
            soft_wrap=True,
        )


def search(paths: Sequence[Path], summary: Summary) -> Iterator[Found]:
    """The documents under these paths, in a stable order. Hidden files and folders are passed over, links not followed.

    A document's source is its path relative to the working folder, or to the given path's parent where it lies outside.
    """
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path, summary)
        elif not path.is_file():
            summary.refused.append((str(path), "no such file" if not path.exists() else "not a file"))
        elif path.suffix.lower() not in MIMES:
            kinds = " ".join(MIMES)
            summary.refused.append((str(path), f"of a kind that cannot be read; these can: {kinds}"))
        else:
            yield Found(path, _source(path, path.parent))


def _in_folder(folder: Path, summary: Summary) -> Iterator[Found]:
    for where, folders, files in os.walk(folder, onerror=lambda error: _unreadable(error, summary)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(where, name)
            if name.startswith(".") or not path.is_file():
                continue
            if path.suffix.lower() in MIMES:
                yield Found(path, _source(path, folder.resolve().parent))
            else:
                summary.other_kinds += 1


def _unreadable(error: OSError, summary: Summary) -> None:
    summary.refused.append((str(error.filename), error.strerror or "cannot be read"))


def _source(path: Path, outside: Path) -> str:
    whole = path.resolve()
    for base in (Path.cwd().resolve(), outside.resolve()):
        if whole.is_relative_to(base):
            return whole.relative_to(base).as_posix()
    return whole.name


def _send(http: httpx.Client, document: Found, summary: Summary) -> None:
    try:
        data = document.path.read_bytes()
    except OSError as error:
        summary.refused.append((document.source, error.strerror or "cannot be read"))
        return
    headers = {"content-type": MIMES[document.path.suffix.lower()]}
    try:
        response = deliver(
            lambda: http.post("/v1/documents", params={"source": document.source}, content=data, headers=headers)
        )
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        # A server that refuses a large body may close before it has read it all.
        summary.refused.append((document.source, f"the connection was closed while sending {len(data)} bytes"))
        return
    if response.status_code == NotAuthorized.status:
        checked(response)
    if not response.is_success:
        summary.refused.append((document.source, error_message(response)))
        return
    _count(as_object(response), summary)


def _count(answer: dict[str, Any], summary: Summary) -> None:
    try:
        summary.documents += len(answer["documents"])
        summary.passages += sum(passages for _, passages in answer["documents"])
        summary.refused += [(str(source), str(reason)) for source, reason in answer["refused"]]
    except (KeyError, TypeError, ValueError) as error:
        raise TurnoutError("the answer to a document is not readable; are both sides of the same version?") from error
