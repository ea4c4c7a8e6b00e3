"""`POST /v1/documents` puts a document into the index, `POST /v1/search` finds passages in it."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qs

import msgspec

from services.contracts.errors import InternalError, InvalidRequest
from services.contracts.events import Found, Ingested, Passage
from services.contracts.messages import Blob, Document, IngestRequest, SearchRequest
from services.gateway.answers import TurnoutOut
from services.gateway.asking import AUTO, Asking, check_model
from services.gateway.body import read_body, read_json
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.gone import while_connected
from services.gateway.images import INLINE_BYTES
from services.gateway.schema import SearchBody, WishesIn, parse

MAX_SOURCE_CHARS = 1024
_MAX_MIME_CHARS = 128


class DocumentsOut(msgspec.Struct, frozen=True):
    """The receipt: each document with its number of passages, and what was refused with the reason."""

    documents: tuple[tuple[str, int], ...]
    refused: tuple[tuple[str, str], ...]
    turnout: TurnoutOut


class PassagesOut(msgspec.Struct, frozen=True):
    """What was found, best first."""

    passages: tuple[Passage, ...]
    turnout: TurnoutOut


async def documents(edge: Edge, exchange: Exchange) -> None:
    """Ingest the body as the document `?source=NAME`; its `Content-Type` says what it is."""
    source = _source(exchange)
    mime = _mime(exchange)
    data = await read_body(exchange, exchange.state.gateway.max_body_bytes)
    if not data:
        raise InvalidRequest("the document is empty")
    sha256 = hashlib.sha256(data).hexdigest()
    stored: list[str] = []
    try:
        async with while_connected(exchange):
            if len(data) <= INLINE_BYTES:
                blob = Blob(sha256, len(data), data=data)
            else:
                stored.append(await edge.bus.blob_put(data))
                blob = Blob(sha256, len(data), ref=stored[0])
            request = IngestRequest((Document(source, mime, blob),))
            async with Asking(edge, exchange, request, AUTO, WishesIn()) as asking:
                answer = await asking.answer()
    finally:
        edge.images.forget(stored)
    if not isinstance(answer.result, Ingested):
        raise InternalError("the component answered with something other than a receipt")
    await exchange.respond_json(DocumentsOut(answer.result.documents, answer.result.refused, answer.turnout))


async def search(edge: Edge, exchange: Exchange) -> None:
    """Find the passages that bear on a query, best first."""
    body = parse(SearchBody, await read_json(exchange))
    check_model(edge, exchange, body.model)
    request = SearchRequest(body.query, body.k)
    async with while_connected(exchange), Asking(edge, exchange, request, body.model, body.turnout) as asking:
        answer = await asking.answer()
    if not isinstance(answer.result, Found):
        raise InternalError("the component answered with something other than passages")
    await exchange.respond_json(PassagesOut(answer.result.passages, answer.turnout))


def _source(exchange: Exchange) -> str:
    """The document's identity, from the query string.

    Raises:
        InvalidRequest: missing, doubled, too long, or with control characters.
    """
    try:
        query: dict[str, list[str]] = parse_qs(
            exchange.scope["query_string"].decode("ascii"),
            strict_parsing=True,
            errors="strict",
            max_num_fields=4,
        )
    except (ValueError, UnicodeDecodeError):
        query = {}
    if unknown := query.keys() - {"source"}:
        name = min(unknown)[:64]
        raise InvalidRequest(f"Unrecognized request argument supplied: {name}", param=name)
    sources = query.get("source", [])
    if len(sources) != 1 or len(sources[0]) > MAX_SOURCE_CHARS or not sources[0].isprintable():
        raise InvalidRequest(f"name the document: ?source=NAME, at most {MAX_SOURCE_CHARS} characters", param="source")
    return sources[0]


def _mime(exchange: Exchange) -> str:
    given = (exchange.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if not given or len(given) > _MAX_MIME_CHARS or b"/" not in given:
        raise InvalidRequest("say what the document is: Content-Type, such as text/markdown", param="content-type")
    return given.decode("ascii", "replace")
