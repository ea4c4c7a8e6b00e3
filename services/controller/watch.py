"""Notices that the configuration file was saved. Polled: that works on every file system and with every editor."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from services.contracts.catalog_file import MAX_BYTES

_POLL_S = 0.5


async def saved(path: Path, known: str, poll_s: float = _POLL_S) -> AsyncIterator[bytes]:
    """What is in the file each time that it has changed and then stayed the same for one look.

    Args:
        known: the digest of what need not be told.
    """
    waiting = known
    while True:
        await asyncio.sleep(poll_s)
        data = _read(path)
        digest = digest_of(data or b"")
        if data is not None and digest == waiting != known:
            known = digest
            yield data
        waiting = digest


def _read(path: Path) -> bytes | None:
    """No more than shows that it is too large; None while it is not there, as in the middle of an editor's save."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return None


def digest_of(data: bytes) -> str:
    """The sha256 of a file's content, hex."""
    return hashlib.sha256(data).hexdigest()


def digest_at(path: Path) -> str:
    """The same of the file as it is now; that of nothing where there is none."""
    return digest_of(_read(path) or b"")
