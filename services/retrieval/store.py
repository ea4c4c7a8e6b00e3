"""What was ingested: the one truth, in SQLite. The word index and the vector index are derived from it.

Every change is one transaction with a new revision number, so that after a crash, or beside another process, a derived
index sees what it lacks: the documents of later revisions.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from services.contracts.errors import ConfigError
from services.retrieval.chunk import Chunk
from services.retrieval.embed import Vector

_BUSY_S = 10.0
_SCHEMA = 1
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL, title TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, passages INTEGER NOT NULL, revision INTEGER NOT NULL, ingested_s REAL NOT NULL);
CREATE INDEX documents_by_revision ON documents (revision);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents (id), trail TEXT NOT NULL,
    page INTEGER, text TEXT NOT NULL, vector BLOB);
CREATE INDEX passages_by_document ON passages (document);
CREATE INDEX passages_embedded ON passages (id) WHERE vector IS NOT NULL;
CREATE INDEX passages_pending ON passages (id) WHERE vector IS NULL;
INSERT INTO facts VALUES ('revision', '0');
"""


class Stored(NamedTuple):
    """A passage as it is kept. `vector` is None until it has been embedded."""

    id: int
    source: str
    title: str
    trail: str
    page: int | None
    text: str
    vector: Vector | None

    @property
    def full_title(self) -> str:
        """The document's title and the headings above the passage, each once."""
        if self.trail == self.title or self.trail.startswith(f"{self.title} ›"):  # noqa: RUF001 - see chunk.py
            return self.trail
        return " › ".join(part for part in (self.title, self.trail) if part)  # noqa: RUF001 - see chunk.py


class Sizes(NamedTuple):
    """What the store holds. `pending` passages have no vector yet."""

    documents: int
    passages: int
    pending: int


class Store:
    """The database. Owned by one thread; other processes may have the same file open.

    Raises:
        ConfigError: the file is not a store of this version, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # an acknowledged document survives a power cut
            self._db.execute("PRAGMA foreign_keys = ON")
            self._create()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"{path}:1: the document store cannot be opened: {error}; move it away to begin anew"
            ) from error

    def _create(self) -> None:
        with self._transaction():
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                for statement in filter(str.strip, _TABLES.split(";")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_SCHEMA}")
            elif version != _SCHEMA:
                raise ConfigError(
                    f"{self._path}:1: the document store has format {version}, not {_SCHEMA}; move it away"
                )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def fact(self, name: str) -> str:
        """A small value kept beside the documents, or the empty string."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def set_fact(self, name: str, value: str) -> None:
        """Keep a small value."""
        self._db.execute(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )

    @property
    def revision(self) -> int:
        """Counts the changes to documents."""
        return int(self.fact("revision"))

    def sizes(self) -> Sizes:
        """How much is here."""
        row = self._db.execute(
            "SELECT (SELECT COUNT(*) FROM documents), (SELECT COALESCE(SUM(passages), 0) FROM documents),"
            " (SELECT COUNT(*) FROM passages WHERE vector IS NULL)"
        ).fetchone()
        return Sizes(*map(int, row))

    def known(self, source: str, fingerprint: str) -> int | None:
        """The number of passages of `source` if it is here with this very content, else None."""
        row = self._db.execute(
            "SELECT passages FROM documents WHERE source = ? AND fingerprint = ?", (source, fingerprint)
        ).fetchone()
        return int(row[0]) if row else None

    def replace(self, source: str, fingerprint: str, title: str, size_bytes: int, chunks: Sequence[Chunk]) -> int:
        """Put a document in place of what `source` was before. Returns its id; its passages have no vectors yet."""
        with self._transaction():
            revision = self.revision + 1
            self.set_fact("revision", str(revision))
            row = self._db.execute(
                "INSERT INTO documents (source, fingerprint, title, size_bytes, passages, revision, ingested_s)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source) DO UPDATE SET fingerprint = excluded.fingerprint,"
                " title = excluded.title, size_bytes = excluded.size_bytes, passages = excluded.passages,"
                " revision = excluded.revision, ingested_s = excluded.ingested_s RETURNING id",
                (source, fingerprint, title, size_bytes, len(chunks), revision, time.time()),
            ).fetchone()
            document = int(row[0])
            self._db.execute("DELETE FROM passages WHERE document = ?", (document,))
            self._db.executemany(
                "INSERT INTO passages (document, trail, page, text) VALUES (?, ?, ?, ?)",
                ((document, chunk.trail, chunk.page, chunk.text) for chunk in chunks),
            )
        return document

    def changed_since(self, revision: int) -> list[int]:
        """The documents of later revisions, oldest change first."""
        rows = self._db.execute("SELECT id FROM documents WHERE revision > ? ORDER BY revision", (revision,))
        return [int(row[0]) for row in rows]

    def of_document(self, document: int) -> Iterable[Stored]:
        """The passages of a document, in order."""
        return self._select("WHERE p.document = ? ORDER BY p.id", (document,))

    def get(self, ids: Sequence[int]) -> dict[int, Stored]:
        """Those of the passages that are still here."""
        marks = ",".join("?" * len(ids))
        return {found.id: found for found in self._select(f"WHERE p.id IN ({marks})", tuple(ids))}

    def _select(self, where: str, values: tuple[object, ...]) -> Iterator[Stored]:
        rows = self._db.execute(
            "SELECT p.id, d.source, d.title, p.trail, p.page, p.text, p.vector"  # noqa: S608 - `where` is ours
            f" FROM passages p JOIN documents d ON d.id = p.document {where}",
            values,
        )
        for passage, source, title, trail, page, text, vector in rows:
            found = None if vector is None else np.frombuffer(vector, np.float16).astype(np.float32)
            yield Stored(passage, source, title, trail, page, text, found)

    def pending(self, limit: int, document: int | None = None) -> list[int]:
        """Passages that wait for their vectors, oldest first; with `document`, only its own."""
        if document is None:
            rows = self._db.execute("SELECT id FROM passages WHERE vector IS NULL ORDER BY id LIMIT ?", (limit,))
        else:
            rows = self._db.execute(
                "SELECT id FROM passages WHERE document = ? AND vector IS NULL ORDER BY id LIMIT ?", (document, limit)
            )
        return [int(row[0]) for row in rows]

    def set_vector(self, passage: int, vector: Vector) -> None:
        """Keep the vector of a passage; one that is gone meanwhile is no error."""
        data = vector.astype(np.float16).tobytes()
        self._db.execute("UPDATE passages SET vector = ? WHERE id = ?", (data, passage))

    def forget_vectors(self) -> None:
        """Make all vectors again: they are of another model."""
        self._db.execute("UPDATE passages SET vector = NULL")

    def embedded_ids(self) -> set[int]:
        """All passages that have vectors."""
        return {int(row[0]) for row in self._db.execute("SELECT id FROM passages WHERE vector IS NOT NULL")}

    def vectors(self, ids: Sequence[int]) -> Vector:
        """The vectors of passages, shape (n, 384), in the order of `ids`, which must all be here."""
        found: list[Vector] = []
        for passage in ids:
            row = self._db.execute("SELECT vector FROM passages WHERE id = ?", (passage,)).fetchone()
            found.append(np.frombuffer(row[0], np.float16).astype(np.float32))
        return np.stack(found)
