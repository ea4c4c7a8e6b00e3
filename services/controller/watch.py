"""Notices that the configuration file was saved. Polled: that works on every file system and with every editor."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from services.contracts.catalog_file import MAX_BYTES

_POLL_S = 0.5


async def saved(path: Path, poll_s: float = _POLL_S) -> AsyncIterator[str]:
    """The text of the file each time that it has changed and then stayed the same for one look."""
    known = waiting = _digest(_read(path))
    while True:
        await asyncio.sleep(poll_s)
        data = _read(path)
        digest = _digest(data)
        if data is not None and digest == waiting != known:
            known = digest
            yield data.decode("utf-8", "replace")
        waiting = digest


def _read(path: Path) -> bytes | None:
    """None while it is not there, as in the middle of an editor's save."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return None


def _digest(data: bytes | None) -> bytes:
    return hashlib.sha256(data or b"").digest()
