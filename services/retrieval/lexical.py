"""Search by words: BM25 on stemmed and on plain words, with tantivy.

The folder is a cache of the store. A marker document holds the revision it is at; `catch_up` brings it to the store's.
Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path

import structlog
import tantivy
from tantivy import Document, FieldType, Filter, Occur, Query, SchemaBuilder, TextAnalyzerBuilder, Tokenizer

from services.retrieval.store import Store
from services.retrieval.words import FUNCTION_WORDS

log = structlog.get_logger()

MAX_QUERY_WORDS = 64
_HEAP_BYTES = 20_000_000
_LEFT_OVER = "FileAlreadyExists"  # the binding has no type for it
_LONGEST_WORD = 40
_PLAIN_WEIGHT = 0.5  # a word as it was typed counts beside its stem
_TITLE_WEIGHT = 0.5
_FOLDER = "lexical folder"  # the store's fact that names the folder in use


def _schema() -> tantivy.Schema:
    builder = SchemaBuilder()
    builder.add_unsigned_field("passage", stored=True, fast=True)
    builder.add_unsigned_field("document", indexed=True)
    builder.add_unsigned_field("revision", stored=True, indexed=True, fast=True)
    for name, analyzer in (("text", "stems"), ("title", "stems"), ("plain", "plain")):
        builder.add_text_field(name, tokenizer_name=analyzer, index_option="freq")
    return builder.build()


def _analyzer(*, stem: bool, without: frozenset[str] = frozenset()) -> tantivy.TextAnalyzer:
    builder = (
        TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(_LONGEST_WORD)).filter(Filter.lowercase())
    )
    if without:
        builder = builder.filter(Filter.custom_stopword(sorted(without)))
    builder = builder.filter(Filter.ascii_fold())
    return (builder.filter(Filter.stemmer("english")) if stem else builder).build()


def content_analyzer() -> tantivy.TextAnalyzer:
    """Text to the stems of the words that say what it is about."""
    return _analyzer(stem=True, without=FUNCTION_WORDS)


def _few(words: list[str]) -> list[str]:
    return list(dict.fromkeys(words))[:MAX_QUERY_WORDS]


class Lexical:
    """The word index of a store. Owned by one thread; of several processes, one writes and all read."""

    def __init__(self, root: Path, store: Store) -> None:
        self._root = root
        self._store = store
        self._stems = _analyzer(stem=True)
        self._plain = _analyzer(stem=False)
        self._content = content_analyzer()
        self._schema = _schema()
        self._folder = ""
        self._index: tantivy.Index | None = None
        self._revision = -1

    def stems(self, text: str) -> list[str]:
        """The words of `text` that say something, as stems."""
        return [str(word) for word in self._content.analyze(text)]

    def search(self, query: str, limit: int) -> list[int]:
        """Passages, best first. The query is words and nothing else: it has no syntax that could be abused."""
        searcher = self._opened().searcher()
        parts: list[tuple[Occur, Query]] = []
        # Words without a subject rank by accident; they count only where the query has no others.
        for word in _few(self._content.analyze(query) or self._stems.analyze(query)):
            title = Query.term_query(self._schema, "title", word, "freq")
            parts.append((Occur.Should, Query.term_query(self._schema, "text", word, "freq")))
            parts.append((Occur.Should, Query.boost_query(title, _TITLE_WEIGHT)))
        plain = self._plain.analyze(query)
        for word in _few([word for word in plain if word not in FUNCTION_WORDS] or plain):
            typed = Query.term_query(self._schema, "plain", word, "freq")
            parts.append((Occur.Should, Query.boost_query(typed, _PLAIN_WEIGHT)))
        if not parts:
            return []
        hits = searcher.search(Query.boolean_query(parts), limit, count=False).hits
        found = searcher.fast_field_values("passage", [address for _, address in hits])
        return [int(passage) for passage in found if passage is not None]

    def catch_up(self) -> None:
        """Bring the index to the store's revision. Another process that writes just now will do it for us."""
        try:
            self._catch_up()
        except ValueError as error:
            if _LEFT_OVER not in str(error):
                raise
            # Killed in the middle of a commit: its files are there, and the next commit wants their names. Everything
            # in the index comes from the store.
            log.warning("word_index_damaged", folder=self._folder, error=str(error))
            self._renew()
            self._catch_up()

    def _renew(self) -> tantivy.Index:
        self._folder, index = self._begin_anew(self._folder)
        self._index, self._revision = index, 0
        return index

    def _catch_up(self) -> None:
        index = self._opened()
        if self._revision == self._store.revision:
            return
        index.reload()
        self._revision = self._read_revision(index)
        target = self._store.revision
        if self._revision > target:  # the store was put back to an older state: what is here belongs to another one
            log.warning("word_index_foreign", revision=self._revision, store=target)
            index = self._renew()
        if self._revision == target:
            return
        try:
            writer = index.writer(_HEAP_BYTES, 1)
        except ValueError as error:
            if "LockBusy" not in str(error):
                raise
            return
        try:
            index.reload()  # the lock is ours now: what the last writer did is what we go on from
            self._revision = self._read_revision(index)
            for document in self._store.changed_since(self._revision):
                self._write(writer, document)
            writer.delete_documents_by_query(self._markers())
            marker = Document()
            marker.add_unsigned("revision", target)
            writer.add_document(marker)
            writer.commit()
        finally:
            writer.wait_merging_threads()  # also gives the lock back
        index.reload()
        self._revision = target

    def size_bytes(self) -> int:
        """What the index takes on disk."""
        total = 0
        for path in (self._root / self._folder).glob("*"):
            with contextlib.suppress(OSError):  # merges delete files at any time
                total += path.stat().st_size
        return total

    def _write(self, writer: tantivy.IndexWriter, document: int) -> None:
        writer.delete_documents_by_term("document", document)
        for passage in self._store.of_document(document):
            entry = Document()
            entry.add_unsigned("passage", passage.id)
            entry.add_unsigned("document", document)
            entry.add_text("text", passage.text)
            entry.add_text("plain", passage.text)
            entry.add_text("title", passage.full_title)
            writer.add_document(entry)

    def _markers(self) -> Query:
        return Query.range_query(self._schema, "revision", FieldType.Unsigned, 0, None)

    def _read_revision(self, index: tantivy.Index) -> int:
        searcher = index.searcher()
        hits = searcher.search(self._markers(), 1, count=False, order_by_field="revision").hits
        if not hits:
            return 0
        return int(searcher.doc(hits[0][1]).get_first("revision") or 0)

    def _opened(self) -> tantivy.Index:
        """The index in the folder that the store names; a new one if it is missing or damaged."""
        folder = self._store.fact(_FOLDER)
        if self._index is not None and folder == self._folder:
            return self._index
        index = self._open(folder) if folder else None
        if index is None:
            folder, index = self._begin_anew(folder)
        self._index, self._folder, self._revision = index, folder, -1
        return index

    def _open(self, folder: str) -> tantivy.Index | None:
        try:
            index = tantivy.Index(self._schema, path=str(self._root / folder))
            self._register(index)
            self._read_revision(index)
        except (ValueError, OSError) as error:
            log.warning("word_index_damaged", folder=folder, error=str(error))
            return None
        return index

    def _begin_anew(self, old: str) -> tuple[str, tantivy.Index]:
        folder = f"words-{secrets.token_hex(4)}"
        (self._root / folder).mkdir(parents=True)
        index = tantivy.Index(self._schema, path=str(self._root / folder))
        self._register(index)
        self._store.set_fact(_FOLDER, folder)
        if old:
            shutil.rmtree(self._root / old, ignore_errors=True)
        return folder, index

    def _register(self, index: tantivy.Index) -> None:
        index.register_tokenizer("stems", self._stems)
        index.register_tokenizer("plain", self._plain)
