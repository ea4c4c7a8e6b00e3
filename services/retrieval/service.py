"""The retrieval component: ingest, search, embed, and an extractive answer when a chat names it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import structlog

from services.contracts.catalog import Component, Retrieval
from services.contracts.errors import ConfigError, InvalidRequest, Overloaded, TurnoutError, Unsupported
from services.contracts.events import Delta, Embedded, Event, Finished, Found, Ingested, Usage
from services.contracts.messages import ChatRequest, EmbedRequest, IngestRequest, ReadRequest, SearchRequest, Task
from services.contracts.price import Price
from services.retrieval import answer
from services.retrieval.embed import DIMENSIONS, MODEL, Vector, safe
from services.retrieval.ingest import Ingest
from services.retrieval.lane import Lane, Priority
from services.retrieval.library import Holdings, Library
from services.worker.service import Description, Job, Surroundings

log = structlog.get_logger()

MAX_QUERY_CHARS = 2000  # of a longer question the beginning is searched for
MAX_PASSAGES = 50
MAX_INPUTS = 512
MAX_INPUT_CHARS = 20_000
MAX_DOCUMENTS = 1000
_ANSWER_FROM = 6


def build(spec: Component, around: Surroundings) -> RetrievalService:
    """The service of a `retrieval` section.

    Raises:
        ConfigError: the section is of another kind.
    """
    if not isinstance(spec, Retrieval):
        raise ConfigError(f"a retrieval component cannot be built from a {spec.kind} section")
    return RetrievalService(spec, around)


class RetrievalService:
    """See `services.worker.service.Service`."""

    def __init__(self, spec: Retrieval, around: Surroundings) -> None:
        self._spec = spec
        self._around = around
        self._folder = Path(around.base_dir) / spec.path
        self._lane = Lane("library")
        self._library: Library | None = None
        self._ingest: Ingest | None = None
        self._holdings = Holdings(0, 0, 0, 0)
        self._background: asyncio.Task[None] | None = None
        self._more_to_embed = asyncio.Event()
        self._ingesting = 0  # requests; at most half the slots, so that searches always find one free

    async def start(self) -> None:
        """Open the library and load the embedding model.

        Raises:
            ConfigError: one of them cannot be used.
        """
        library = self._library = await self._lane.run(Priority.SEARCH, Library, self._folder)
        self._ingest = Ingest(
            self._around.bus, self._lane, library, self._spec.chunk_chars, self._spec.max_document_bytes
        )
        await self._count(library)
        if self._holdings.pending:
            self._more_to_embed.set()
        self._background = asyncio.create_task(self._embed_the_rest(library))

    def describe(self) -> Description:
        """What is here."""
        held = self._holdings
        return Description(
            MODEL,
            ("search", "ingest", "embed", "answer"),
            price=self._spec.price.to_price() if self._spec.price else Price(),
            facts={
                "documents": held.documents,
                "passages": held.passages,
                "pending_passages": held.pending,
                "index_bytes": held.index_bytes,
            },
        )

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        """Dispatch by the kind of the request."""
        library, ingest = self._library, self._ingest
        assert library is not None  # noqa: S101 - the runtime calls `start` first
        assert ingest is not None  # noqa: S101 - as above
        match task.request:
            case SearchRequest() as request:
                events = self._search(library, request, job)
            case IngestRequest() as request:
                events = self._take(library, ingest, request, task.deadline_s, job)
            case EmbedRequest() as request:
                events = self._embed(library, request, job)
            case ChatRequest() as request:
                events = self._chat(library, request, job)
            case ReadRequest():
                raise Unsupported(f"{self._around.component} searches documents; it cannot read images")
        async with aclosing(events):
            async for event in events:
                yield event

    async def stop(self) -> None:
        """Save and close."""
        if self._background is not None:
            self._background.cancel()
            await asyncio.gather(self._background, return_exceptions=True)
        if self._library is not None:
            await self._lane.run(Priority.CLOSE, self._library.close)
        await self._lane.close()

    async def _search(self, library: Library, request: SearchRequest, job: Job) -> AsyncGenerator[Event]:
        if not 1 <= request.k <= MAX_PASSAGES:
            raise InvalidRequest(f"k must be from 1 to {MAX_PASSAGES}", param="k")
        query = safe(request.query[:MAX_QUERY_CHARS])[:MAX_QUERY_CHARS].strip()
        if not query:
            raise InvalidRequest("the query is empty", param="query")
        found = await self._lane.run(Priority.SEARCH, library.search, query, request.k)
        job.spent = Usage(input_tokens=found.tokens)
        yield Found(found.passages)
        yield Finished(job.spent)

    async def _take(
        self, library: Library, ingest: Ingest, request: IngestRequest, deadline_s: float, job: Job
    ) -> AsyncGenerator[Event]:
        if not 1 <= len(request.documents) <= MAX_DOCUMENTS:
            raise InvalidRequest(f"1 to {MAX_DOCUMENTS} documents at once, not {len(request.documents)}")
        if self._ingesting >= max(1, self._spec.slots // 2):
            raise Overloaded(f"{self._ingesting} ingest requests are under way already", retry_after_s=2.0)
        taken: list[tuple[str, int]] = []
        refused: list[tuple[str, str]] = []
        self._ingesting += 1
        try:
            for document in request.documents:
                try:
                    result = await ingest.take(document, deadline_s)
                except TurnoutError as error:
                    if error.retryable:
                        raise
                    refused.append((document.source, error.message))
                else:
                    taken.append((document.source, result.passages))
                    job.spent += Usage(input_tokens=result.tokens)
        finally:
            self._ingesting -= 1
            self._more_to_embed.set()
            await self._count(library)
        yield Ingested(tuple(taken), tuple(refused))
        yield Finished(job.spent, detail={"pending_passages": self._holdings.pending})

    async def _embed(self, library: Library, request: EmbedRequest, job: Job) -> AsyncGenerator[Event]:
        if not 1 <= len(request.inputs) <= MAX_INPUTS:
            raise InvalidRequest(f"1 to {MAX_INPUTS} inputs at once, not {len(request.inputs)}", param="input")
        for index, text in enumerate(request.inputs):
            # Measured as the model will read it too: a ligature may stand for eighteen characters.
            if not text or len(text) > MAX_INPUT_CHARS or len(safe(text)) > MAX_INPUT_CHARS:
                raise InvalidRequest(f"input {index} must have 1 to {MAX_INPUT_CHARS} characters", param="input")

        def one(text: str) -> tuple[Vector, int]:
            return library.embedder.embed(text, request.purpose), library.embedder.tokens(text, request.purpose)

        vectors: list[bytes] = []
        for text in request.inputs:
            vector, tokens = await self._lane.run(Priority.EMBED, one, text)
            vectors.append(vector.astype("<f4").tobytes())
            job.spent += Usage(input_tokens=tokens)
        yield Embedded(tuple(vectors), DIMENSIONS)
        yield Finished(job.spent)

    async def _chat(self, library: Library, request: ChatRequest, job: Job) -> AsyncGenerator[Event]:
        me = self._around.component
        if request.images:
            raise Unsupported(f"{me} quotes documents; it cannot see images", param="messages")
        if request.tools:
            raise Unsupported(f"{me} quotes documents; it cannot call tools", param="tools")
        if request.response_format.type != "text":
            raise Unsupported(f"{me} quotes documents as they are, not as JSON", param="response_format")
        question = safe(request.question[:MAX_QUERY_CHARS])[:MAX_QUERY_CHARS].strip()
        if not question:
            raise InvalidRequest("there is no question in the conversation", param="messages")
        found = await self._lane.run(Priority.SEARCH, library.search, question, _ANSWER_FROM)
        sources = answer.chosen(found.passages)
        texts = [answer.quoted(number, passage) for number, passage in enumerate(sources, start=1)]
        text = "\n\n".join(texts) or answer.nothing(self._holdings.documents)
        whole = answer.until(text, request.sampling.stop)
        text, tokens = await self._lane.run(
            Priority.SEARCH, library.embedder.shortened, whole, request.sampling.max_tokens
        )
        job.spent = Usage(input_tokens=found.tokens, output_tokens=tokens)
        yield Delta(text)
        yield Finished(job.spent, "stop" if text == whole else "length", sources=sources)

    async def _embed_the_rest(self, library: Library) -> None:
        """Embed in quiet moments what no ingest request has waited for, and what a crash has left behind."""
        while True:
            await self._more_to_embed.wait()
            self._more_to_embed.clear()
            try:
                while await self._lane.run(Priority.BACKGROUND, library.embed_one) is not None:
                    pass
                await self._count(library)
            except (sqlite3.Error, OSError, RuntimeError):
                log.exception("embedding_stopped")  # search goes on; the next ingest request wakes it again

    async def _count(self, library: Library) -> None:
        self._holdings = await self._lane.run(Priority.INGEST, library.holdings)
