"""Takes documents in, one after the other: fetch, check, read at a distance, store, embed."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import NamedTuple

import structlog

from services.bus.port import Bus
from services.contracts.errors import InvalidRequest, NotFound, PayloadTooLarge
from services.contracts.messages import Blob, Document
from services.retrieval import chunk
from services.retrieval.decode import clean
from services.retrieval.extract import kind_of
from services.retrieval.isolate import read_apart
from services.retrieval.lane import Lane, Priority
from services.retrieval.library import Library
from services.retrieval.read import Job, Outcome, read

log = structlog.get_logger()

MAX_SOURCE_CHARS = 1000
_HERE_BYTES = 32 * 1024  # plain text up to this size is not worth a process of its own
_RESERVE_S = 2.0  # before the deadline: what is not embedded by then goes on in the background


class Taken(NamedTuple):
    """What became of a document: its passages, and the tokens it took to embed them."""

    passages: int
    tokens: int


class Ingest:
    """Shared by all ingest requests: they take turns, a document each."""

    def __init__(self, bus: Bus, lane: Lane, library: Library, chunk_chars: int, max_bytes: int) -> None:
        self._bus = bus
        self._lane = lane
        self._library = library
        self._chunk_chars = chunk_chars
        self._max_bytes = max_bytes
        self._turn = asyncio.Lock()

    async def take(self, document: Document, deadline_s: float) -> Taken:
        """Take one document, and embed it as far as the deadline allows. By its words it can be found in any case.

        Raises:
            InvalidRequest: it cannot be read; the message says why.
            PayloadTooLarge: it is over the limit.
        """
        source = clean(document.source).strip()
        if not source or len(source) > MAX_SOURCE_CHARS:
            raise InvalidRequest(f"a source has 1 to {MAX_SOURCE_CHARS} characters")
        data = await self._fetch(document.blob)
        kind = kind_of(source, document.mime, data)
        digest = hashlib.sha256(data).hexdigest()
        fingerprint = f"{digest} {kind} {self._chunk_chars} {chunk.VERSION}"
        async with self._turn:
            known = await self._lane.run(Priority.SEARCH, self._library.known, source, fingerprint)
            if known is not None:
                return Taken(known, 0)
            outcome = await self._read(Job(kind, data, self._chunk_chars))
            if outcome.refusal:
                raise InvalidRequest(outcome.refusal)
            number = await self._lane.run(Priority.INGEST, self._library.put, source, fingerprint, len(data), outcome)
        tokens = 0
        while time.time() < deadline_s - _RESERVE_S:
            took = await self._lane.run(Priority.INGEST, self._library.embed_one, number)
            if took is None:
                break
            tokens += took
        return Taken(len(outcome.chunks), tokens)

    async def _read(self, job: Job) -> Outcome:
        if job.kind.startswith("text/") and job.kind != "text/html" and len(job.data) <= _HERE_BYTES:
            return await self._lane.run(Priority.INGEST, read, job)
        return await read_apart(job)

    async def _fetch(self, blob: Blob) -> bytes:
        """The bytes of a document, whole and unchanged.

        Raises:
            PayloadTooLarge: over the limit. InvalidRequest: not what was announced.
        """
        if blob.size_bytes > self._max_bytes:
            raise PayloadTooLarge(f"{blob.size_bytes} bytes; a document may have {self._max_bytes}")
        if blob.data is not None:
            data = blob.data
        elif blob.ref:
            try:
                data = await self._bus.blob_get(blob.ref)
            except NotFound as error:
                raise InvalidRequest("its bytes are no longer on the bus; send it again") from error
        else:
            raise InvalidRequest("it came without its bytes")
        if len(data) > self._max_bytes:
            raise PayloadTooLarge(f"{len(data)} bytes; a document may have {self._max_bytes}")
        if hashlib.sha256(data).hexdigest() != blob.sha256:
            raise InvalidRequest("its bytes do not match their sha256")
        return data
