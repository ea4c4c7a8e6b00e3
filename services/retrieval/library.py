"""The documents and the two indexes over them, as one thing. Owned by one thread; see `lane`.

The store commits first, the word index follows, vectors come one by one. Each step can be lost and is done again, so a
process may be killed at any point.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from services.contracts.events import Passage
from services.retrieval.dense import Dense
from services.retrieval.embed import VERSION, Embedder, Vector
from services.retrieval.fuse import fuse
from services.retrieval.lexical import Lexical
from services.retrieval.read import Outcome
from services.retrieval.relevance import Relevance
from services.retrieval.store import Store, Stored

log = structlog.get_logger()

_CANDIDATES = 50  # of each ranking
_EMBED_NOW = 2  # passages without a vector that a search embeds itself rather than leave unjudged
_EMBEDDER = "embedder"


class Holdings(NamedTuple):
    """What is here. `pending` passages can be found by their words only, so far."""

    documents: int
    passages: int
    pending: int
    index_bytes: int


class Search(NamedTuple):
    """Passages, best first, and the tokens it took."""

    passages: tuple[Passage, ...]
    tokens: int


class Library:
    """See the module. Opening it loads everything.

    Raises:
        ConfigError: the folder or the embedding model cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.embedder = Embedder()
        self._relevance = Relevance.load()
        self._store = Store(folder / "documents.sqlite")
        if (made_by := self._store.fact(_EMBEDDER)) != VERSION:
            if made_by:
                log.warning("vectors_outdated", made_by=made_by, now=VERSION)
                self._store.forget_vectors()
            self._store.set_fact(_EMBEDDER, VERSION)
        self._lexical = Lexical(folder, self._store)
        self._lexical.catch_up()
        self._dense = Dense(folder / "vectors.usearch", self._store)
        self._dense.load()

    def holdings(self) -> Holdings:
        """Numbers worth showing."""
        sizes = self._store.sizes()
        return Holdings(*sizes, self._lexical.size_bytes() + self._dense.size_bytes())

    def known(self, source: str, fingerprint: str) -> int | None:
        """The number of passages of a document that is here with this very content, else None."""
        return self._store.known(source, fingerprint)

    def put(self, source: str, fingerprint: str, size_bytes: int, outcome: Outcome) -> int:
        """Take a document, in place of what `source` was. It can be found by its words when this returns."""
        document = self._store.replace(source, fingerprint, outcome.title, size_bytes, outcome.chunks)
        self._lexical.catch_up()
        self._dense.catch_up()
        return document

    def embed_one(self, document: int | None = None) -> int | None:
        """Embed the oldest passage that waits for it. Returns the tokens it took, or None if none waits."""
        waiting = self._store.pending(1, document)
        if not waiting:
            return None
        stored = self._store.get(waiting).get(waiting[0])
        return 0 if stored is None else self._embed(stored)[1]

    def search(self, query: str, k: int) -> Search:
        """The best `k` passages by words and by meaning."""
        self._lexical.catch_up()
        self._dense.catch_up()
        vector = self.embedder.embed(query, "query")
        tokens = self.embedder.tokens(query, "query")
        rankings = (self._lexical.search(query, max(_CANDIDATES, k)), self._dense.search(vector, max(_CANDIDATES, k)))
        ranked = fuse(rankings)
        stored = self._store.get([passage for passage, _ in ranked])
        best = [(stored[passage], score) for passage, score in ranked if passage in stored][:k]
        words = self._lexical.stems(query)
        found: list[Passage] = []
        embedded = 0
        for passage, score in best:
            of_passage = passage.vector
            if of_passage is None and embedded < _EMBED_NOW:
                of_passage, took = self._embed(passage)
                tokens, embedded = tokens + took, embedded + 1
            found.append(self._judged(passage, score, vector, words, of_passage))
        return Search(tuple(found), tokens)

    def close(self) -> None:
        """Save what spares the next start some work."""
        self._dense.save()
        self._store.close()

    def _judged(self, stored: Stored, score: float, query: Vector, words: list[str], vector: Vector | None) -> Passage:
        passage = Passage(stored.text, stored.source, score, title=stored.full_title, page=stored.page)
        if vector is None:
            return passage  # neither similarity nor relevance is known yet, and 0 promises nothing
        content = self._lexical.stems(f"{stored.full_title}\n{stored.text}")
        relevance = self._relevance.of(query, words, vector, content)
        return msgspec.structs.replace(passage, similarity=float(query @ vector), relevance=relevance)

    def _embed(self, stored: Stored) -> tuple[Vector, int]:
        text = f"{stored.full_title}\n{stored.text}"
        vector = self.embedder.embed(text, "passage")
        self._store.set_vector(stored.id, vector)
        self._dense.add(stored.id, vector)
        return vector, self.embedder.tokens(text, "passage")
