"""The folder where a running system keeps its state, and the lock that lets only one use it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.contracts.errors import TurnoutError


class AlreadyRunning(TurnoutError):
    """Another `turnout up` uses the same state."""

    code = "already_running"


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
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
