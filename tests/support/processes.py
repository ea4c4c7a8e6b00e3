"""What runs, as the operating system sees it: found by a mark in the environment, which every descendant inherits."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

MARK = "TURNOUT_TEST_RUN"
T = TypeVar("T")


def new_mark() -> dict[str, str]:
    """An environment variable that nobody else has."""
    return {MARK: secrets.token_hex(8)}


def marked(mark: dict[str, str]) -> dict[int, dict[str, str]]:
    """The environments of all processes with this mark, by process id. Zombies have none."""
    entry = f"{MARK}={mark[MARK]}"
    found: dict[int, dict[str, str]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            entries = (folder / "environ").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue  # it ended, or is another user's
        if entry in entries:
            found[int(folder.name)] = dict(one.partition("=")[::2] for one in entries if "=" in one)
    return found


def program(pid: int) -> str:
    """The name of what a process runs; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def bus_of(folder: Path) -> int:
    """The nats-server that keeps its files in a folder."""

    def opened(pid: int) -> list[str]:
        try:
            return [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            return []  # it ended, or is another user's

    servers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    (found,) = [
        pid
        for pid in servers
        if program(pid) == "nats-server" and any(path.startswith(str(folder)) for path in opened(pid))
    ]
    return found


def await_true(condition: Callable[[], T], what: str, timeout_s: float = 30.0) -> T:
    """The first true value of `condition()`."""
    give_up_s = time.monotonic() + timeout_s
    while time.monotonic() < give_up_s:
        if value := condition():
            return value
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come true in {timeout_s} s")


def await_none_left(mark: dict[str, str], timeout_s: float = 5.0) -> None:
    """Wait until nothing with this mark runs."""
    await_true(lambda: not marked(mark), f"no process left (there are {list(marked(mark))})", timeout_s)


@contextmanager
def started(
    command: Sequence[str | Path], mark: dict[str, str], **environment: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A program, and the lines that it has said so far. Nothing with this mark survives the block."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **mark, **environment},
        start_new_session=True,
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]  # it is a pipe
    reader.start()
    try:
        yield process, lines
    finally:
        process.kill()
        process.wait()
        for pid in marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await_none_left(mark)
        reader.join(5)
