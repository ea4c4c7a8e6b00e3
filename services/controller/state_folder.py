"""The folder where a running system keeps its state, and the lock that lets only one use it.

The lock file holds the process id of its owner for as long as there is one. An id that was left there is that of an
owner who was killed, or whose machine went down: it had no time to finish what it was doing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.contracts.errors import TurnoutError

_ROOM_MB = 3_250  # nats-server sets aside what streams may take, and no more than three quarters of what is free


class AlreadyRunning(TurnoutError):
    """Another `turnout up` uses the same state."""

    code = "already_running"


def left_behind(folder: Path) -> bool:
    """Whether the last owner did not come to an orderly end, or has not come to one yet."""
    try:
        return bool((folder / "lock").read_text("ascii", "replace").strip())
    except OSError:
        return False


def not_kept(folder: Path, error: TurnoutError) -> TurnoutError:
    """What to say when the bus cannot have its store there: as a rule it is the disk, and the bus does not say that."""
    free_mb = shutil.disk_usage(folder).free // 10**6
    return TurnoutError(
        f"the bus cannot keep its records in {folder}: {error.message} ({free_mb:,} MB are free there; a new store "
        f"takes {_ROOM_MB:,}, an old one goes on with less); make room, or choose another --state-dir"
    )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Own the folder while the block runs. The lock is the kernel's: it ends with the process, however that ends.

    Raises:
        AlreadyRunning: somebody else owns it.
        TurnoutError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise TurnoutError(f"the state folder {folder} cannot be written: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise AlreadyRunning(
                f"another `turnout up` (process {owner}) uses {folder}; stop it, or choose another --state-dir"
            ) from error
        inherited = os.pread(descriptor, 32, 0)
        _write(descriptor, f"{os.getpid()}\n".encode())
        try:
            yield
        except BaseException:
            _write(descriptor, inherited)  # what the owner before us left undone, we have not done either
            raise
        _write(descriptor, b"")
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)
