"""Search by meaning: nearest neighbours by cosine, with usearch.

The index lives in memory and is a cache of the store. A copy on disk spares the next start the work of building it;
it is trusted only if its hash is the one the store remembers.
Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW", 2018.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.retrieval.embed import DIMENSIONS, Vector
from services.retrieval.store import Store

if TYPE_CHECKING:
    from usearch.index import Index

log = structlog.get_logger()

_SAVE_EVERY = 2000  # changes
_BATCH = 4096
_HASH = "dense sha256"


class Dense:
    """The vector index of a store. Owned by one thread."""

    def __init__(self, path: Path, store: Store) -> None:
        self._path = path
        self._store = store
        self._index = _empty()
        self._unsaved = 0
        self._removed = 0
        self._revision = -1

    def load(self) -> None:
        """Take the copy on disk if it is sound, then bring it to the store's state."""
        wanted = self._store.fact(_HASH)
        if wanted and self._path.exists() and _sha256(self._path) == wanted:
            self._index.load(str(self._path))
        elif self._path.exists():
            log.info("vector_index_rebuilt", reason="the copy on disk is not the one that was saved last")
        self.catch_up(force=True)

    def search(self, query: Vector, limit: int) -> list[int]:
        """Passages, best first."""
        if len(self._index) == 0:
            return []
        matches = self._index.search(query, limit, threads=1)
        return [int(key) for key in matches.keys]

    def add(self, passage: int, vector: Vector) -> None:
        """Make one passage findable."""
        if passage not in self._index:
            self._index.add(passage, vector, threads=1)
            self._changed(1)

    def catch_up(self, *, force: bool = False) -> None:
        """Drop what the store no longer has, add what it has more. Keys are never used twice, so they tell all."""
        revision, sizes = self._store.revision, self._store.sizes()
        # The counts differ when another process has embedded passages, which is no new revision.
        if not force and revision == self._revision and len(self._index) == sizes.passages - sizes.pending:
            return
        wanted = self._store.embedded_ids()
        have = {int(key) for key in np.asarray(self._index.keys)} if len(self._index) else set()
        gone = have - wanted
        if len(gone) + self._removed > len(have):  # removed entries stay as holes: too many, and it is built anew
            self._index, have, gone, self._removed = _empty(), set(), set(), 0
        for passage in gone:
            self._index.remove(passage)
        self._removed += len(gone)
        missing = sorted(wanted - have)
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            self._index.add(np.array(batch, np.uint64), self._store.vectors(batch), threads=1)
        self._revision = revision
        self._changed(len(gone) + len(missing))

    def save(self) -> None:
        """Write the copy on disk: aside first, then renamed, then its hash goes to the store."""
        if self._unsaved == 0:
            return
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._index.save(str(aside))
            digest = _sha256(aside)
            aside.replace(self._path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                aside.unlink()
        self._store.set_fact(_HASH, digest)
        self._unsaved = 0

    def size_bytes(self) -> int:
        """What the index takes in memory."""
        return int(self._index.serialized_length) if len(self._index) else 0

    def _changed(self, count: int) -> None:
        self._unsaved += count
        if self._unsaved >= _SAVE_EVERY:
            self.save()


def _empty() -> Index:
    # Not at the top: usearch loads the OpenMP that the embedder shares, and that must find the embedder's settings.
    from usearch.index import Index  # noqa: PLC0415 - as said

    return Index(ndim=DIMENSIONS, metric="cos", dtype="f16")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
