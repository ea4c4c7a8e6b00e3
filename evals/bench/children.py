"""Processes of the benchmark: started in a session of their own, stopped by their ids in every case."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from services.worker.parent import die_with_parent

STOP_TIMEOUT_S = 15.0
_LOOK_INTERVAL_S = 0.1
_OK = 200
_LAST_CHARS = 1500
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")


class BenchError(Exception):
    """The run cannot go on; the message is for whoever started it."""


def clean_environment(**more: str) -> dict[str, str]:
    """What programs need to run and nothing that would configure them: no keys, proxies or databases of the user's."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | more


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def child(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs while the block does. What it prints goes to the file `log`."""
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own command lines
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - started before any thread of ours
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then end what is left of its session."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the session is ours: its id is the child's
    process.wait()


def await_ready(
    process: subprocess.Popen[bytes], url: str, log: Path, timeout_s: float, tell: Callable[[float], None]
) -> None:
    """Return once `url` answers with 200. `tell` hears how many seconds it has taken so far.

    Raises:
        BenchError: the process ended, or the time is up; the end of its log is in the message.
    """
    begun_s = time.monotonic()
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while (took_s := time.monotonic() - begun_s) < timeout_s:
            if (code := process.poll()) is not None:
                raise BenchError(f"{process.args!r} ended with {code}:\n{last_words(log)}")
            with contextlib.suppress(httpx.TransportError):
                if client.get(url).status_code == _OK:
                    return
            tell(took_s)
            time.sleep(_LOOK_INTERVAL_S)
    raise BenchError(f"{url} was not ready after {timeout_s:.0f} s:\n{last_words(log)}")


def last_words(log: Path) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-_LAST_CHARS:].strip() if log.exists() else "(no log)"


@contextmanager
def folder_for(keep: Path | None) -> Iterator[Path]:
    """Where a run puts configurations and logs: the folder that keeps them, else one that goes with the run."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        yield Path(name)
