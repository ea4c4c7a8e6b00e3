"""`GET /openapi.json`: what the gateway takes and answers, as OpenAPI 3.1.

Made from what checks the requests (pydantic), writes the answers (msgspec) and tells of failures (the error tree), so
that it cannot drift from them: this file says only which of them belong to which path.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import msgspec
from pydantic import BaseModel

from services.contracts.decision import Decision
from services.contracts.errors import (
    BudgetExceeded,
    ComponentTimeout,
    ComponentUnavailable,
    ConfigError,
    Conflict,
    ContextLengthExceeded,
    InternalError,
    InvalidRequest,
    ModelNotFound,
    NoCapableComponent,
    NotAuthorized,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    TurnoutError,
    Unsupported,
    UpstreamError,
)
from services.gateway.admin import MAX_COUNT
from services.gateway.answers import ChatOut, ChunkOut
from services.gateway.body import RequestTimeout
from services.gateway.documents import MAX_SOURCE_CHARS, DocumentsOut, PassagesOut
from services.gateway.edge import Edge
from services.gateway.embeddings import EmbeddingsOut
from services.gateway.exchange import RETRY_STATUSES, TIMED_OUT, ErrorBody, Exchange
from services.gateway.feedback import FeedbackOut
from services.gateway.health import Health, NotReady
from services.gateway.middleware import HeadersTooLarge
from services.gateway.models import ModelOut, ModelsOut
from services.gateway.openapi_schemas import PLAIN, Json, ref, schemas
from services.gateway.responses_events import EVENTS
from services.gateway.responses_out import ResponseOut
from services.gateway.responses_schema import ResponsesBody
from services.gateway.schema import ChatBody, EmbedBody, FeedbackBody, SearchBody
from services.gateway.status import StatusOut

Failure = type[TurnoutError]

_JSON, _STREAM, _TEXT, _LINES = "application/json", "text/event-stream", "text/plain", "application/x-ndjson"
_ANY: tuple[Failure, ...] = (InvalidRequest, RequestTimeout, HeadersTooLarge, InternalError, ComponentUnavailable)
_SENT: tuple[Failure, ...] = (PayloadTooLarge, Overloaded)
_ROUTED: tuple[Failure, ...] = (
    *_SENT,
    ContextLengthExceeded,
    Unsupported,
    BudgetExceeded,
    ModelNotFound,
    UpstreamError,
    NoCapableComponent,
    ComponentTimeout,
)
_ORDERED: tuple[Failure, ...] = (*_SENT, NotFound, Conflict, ConfigError)
_MEDIA: dict[type, str] = {str: _TEXT, bytes: _LINES}
_FILES = ("text/plain", "text/markdown", "text/html", "application/pdf")
_SOURCE: Json = {
    "name": "source",
    "in": "query",
    "required": True,
    "description": "The document's name in the index. Ingesting it again replaces it. No control characters.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_SOURCE_CHARS},
}
_ID: Json = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_REVISION: Json = {
    "name": "if-match",
    "in": "header",
    "description": "Only if this revision is still in force.",
    "schema": {"type": "string", "pattern": '^"?[0-9]{1,18}"?$'},
}
_FOLLOW: Json = {
    "name": "follow",
    "in": "query",
    "description": "Go on, as server-sent events, with what happens from now on.",
    "schema": {"enum": ["1"]},
}
_ROLLBACK: Json = {
    "type": "object",
    "properties": {"revision": {"type": ["integer", "null"], "minimum": 1, "description": "null: the one before"}},
    "additionalProperties": False,
}
_SCALE: Json = {
    "type": "object",
    "properties": {
        "component": {"type": "string"},
        "count": {"type": "integer", "minimum": 0, "maximum": MAX_COUNT},
    },
    "required": ["component", "count"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        answer: of a good response, as JSON; `str`: plain text; `bytes`: JSON objects, one a line.
        body: of the request: as JSON, or what stands for each of its media types.
        fails: with which errors, besides those that any request may meet.
        parameters: of the path, the query and the headers.
        keyless: no key is asked for.
        events: what a stream of it is made of; it may end with an error.
        sentinel: the last event of a good stream, where it is none of these.
    """

    method: str
    path: str
    summary: str
    answer: type
    body: type[BaseModel] | Json | None = None
    fails: tuple[Failure, ...] = ()
    parameters: tuple[Json, ...] = ()
    keyless: bool = False
    events: tuple[type, ...] = ()
    sentinel: str = ""


READY = Operation("get", "/health/ready", "Whether everything that should serve does.", Health, keyless=True)
OPERATIONS = (
    Operation(
        "post",
        "/v1/chat/completions",
        "Answer a conversation.",
        ChatOut,
        ChatBody,
        _ROUTED,
        events=(ChunkOut, ErrorBody),
        sentinel="[DONE]",
    ),
    Operation(
        "post",
        "/v1/responses",
        "Answer a conversation, in the words of OpenAI's Responses API. Nothing is kept.",
        ResponseOut,
        ResponsesBody,
        _ROUTED,
        events=EVENTS,
    ),
    Operation("post", "/v1/embeddings", "Turn texts into vectors.", EmbeddingsOut, EmbedBody, _ROUTED),
    Operation(
        "post",
        "/v1/documents",
        "Put a document into the index.",
        DocumentsOut,
        {kind: {} for kind in _FILES},
        _ROUTED,
        (_SOURCE,),
    ),
    Operation("post", "/v1/search", "Find passages that bear on a query.", PassagesOut, SearchBody, _ROUTED),
    Operation("get", "/v1/models", "The router, and every component.", ModelsOut),
    Operation("get", "/v1/models/{id}", "One of them.", ModelOut, None, (ModelNotFound,), (_ID,)),
    Operation("get", "/v1/decisions/{id}", "How a request was decided.", Decision, None, (NotFound,), (_ID,)),
    Operation(
        "post",
        "/v1/feedback",
        "Say how good an answer was; the router learns from it.",
        FeedbackOut,
        FeedbackBody,
        (*_SENT, NotFound),
    ),
    Operation("get", "/v1/status", "Everything that runs, for `turnout status`.", StatusOut),
    Operation("get", "/health/live", "This process answers.", Health, keyless=True),
    READY,
    Operation("get", "/metrics", "Counts and times, for Prometheus.", str),
    Operation("get", "/openapi.json", "This description.", dict),
    Operation("get", "/admin/catalog", "The configuration in force. `ETag` is its revision.", dict),
    Operation(
        "put",
        "/admin/catalog",
        "Make the body the configuration in force; answered when it is, or when it is refused.",
        dict,
        {_JSON: {}, "application/yaml": {}},
        _ORDERED,
        (_REVISION,),
    ),
    Operation("get", "/admin/history", "The revisions that are kept, newest first.", dict),
    Operation(
        "post", "/admin/rollback", "Go back to an earlier revision.", dict, {_JSON: {"schema": _ROLLBACK}}, _ORDERED
    ),
    Operation("post", "/admin/scale", "Run so many instances.", dict, {_JSON: {"schema": _SCALE}}, _ORDERED),
    Operation(
        "get",
        "/admin/events",
        "What has happened.",
        dict,
        None,
        (InvalidRequest, ComponentUnavailable, ComponentTimeout),
        (_FOLLOW,),
    ),
    Operation("get", "/admin/decisions", "Every decision that is kept, one a line, with its quality.", bytes),
    Operation("get", "/admin/shadows", "The pairs of answers that shadow mode has kept, one a line.", bytes),
)


async def openapi(_edge: Edge, exchange: Exchange) -> None:
    """Show the description. It is made once, beside the event loop: that takes 50 ms."""
    await exchange.respond(200, await asyncio.to_thread(_encoded))


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> Json:
    """The whole description."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Turnout",
            "version": version("turnout"),
            "description": "One OpenAI-compatible endpoint before many components: `model: auto` lets a router choose.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": {name: _header(name, text) for name, text in _HEADERS.items()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> Json:
    """An operation object."""
    described: Json = {
        "operationId": f"{operation.method}_{operation.path.strip('/').translate(_TO_NAME)}",
        "summary": operation.summary,
        # The second, empty one: a gateway may be configured without keys.
        "security": [] if operation.keyless else [{"key": []}, {}],
        "responses": {"200": _good(operation)} | _failures(operation),
    }
    body = operation.body
    if body is not None:
        content = body if isinstance(body, dict) else {_JSON: {"schema": ref(body)}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation is READY:
        described["responses"]["503"]["content"][_JSON]["schema"] = {"anyOf": [ref(NotReady), ref(ErrorBody)]}
    return described


def _good(operation: Operation) -> Json:
    content: Json = {_MEDIA.get(operation.answer, _JSON): {"schema": ref(operation.answer)}}
    if operation.events:
        content[_STREAM] = {"schema": _stream_event(operation)}
    if _FOLLOW in operation.parameters:
        content[_STREAM] = {"schema": {"type": "object"}}
    names = ["x-request-id"] + [name for name in _HEADERS if operation.fails == _ROUTED and "turnout" in name]
    return {"description": "Done.", "content": content, "headers": _headers(names)}


def _stream_event(operation: Operation) -> Json:
    """One server-sent event: OpenAPI before 3.2 has no words for a stream of them."""
    data = {"contentMediaType": _JSON, "contentSchema": {"anyOf": [ref(kind) for kind in operation.events]}}
    last = f"`{operation.sentinel}`" if operation.sentinel else "that of a response which has ended"
    return {
        "type": "object",
        "description": f"An event of the stream. The last one is {last}, or an error if the answer broke off.",
        "properties": {
            "data": {"type": "string", "anyOf": [{"const": operation.sentinel}, data] if operation.sentinel else [data]}
        },
        "required": ["data"],
    }


def _failures(operation: Operation) -> Json:
    """A response for each status, which says what it may mean here."""
    meanings: dict[int, list[str]] = {}
    locked = () if operation.keyless else (NotAuthorized,)
    for kind in (*_ANY, *locked, *operation.fails):
        meaning = (inspect.getdoc(kind) or "").partition("\n")[0]
        meanings.setdefault(kind.status, []).append(f"`{kind.code}`: {meaning}")
    return {
        str(status): {
            "description": "\n\n".join(dict.fromkeys(texts)),
            "content": {_JSON: {"schema": ref(ErrorBody)}},
            **({"headers": _headers(["retry-after"])} if status in RETRY_STATUSES else {}),
            **({"headers": _headers(["x-should-retry"])} if status == TIMED_OUT else {}),
        }
        for status, texts in sorted(meanings.items())
    }


def _schemas() -> Json:
    """Every schema by its name."""
    return schemas(
        [operation.body for operation in OPERATIONS if isinstance(operation.body, type)],
        [operation.answer for operation in OPERATIONS if operation.answer not in PLAIN]
        + [NotReady, ErrorBody, *(kind for operation in OPERATIONS for kind in operation.events)],
    )


_HEADERS = {
    "x-request-id": "Names this request in the log.",
    "x-turnout-decision-id": "For `GET /v1/decisions/{id}`.",
    "x-turnout-component": "Who answered.",
    "x-turnout-cost-usd": "What it cost. In a stream: what it was expected to cost.",
    "retry-after": "Seconds after which it may succeed.",
    "x-should-retry": "`false`: OpenAI's SDK shall not try it again.",
}
_TO_NAME = str.maketrans({"/": "_", "{": None, "}": None, ".": "_"})


def _header(name: str, text: str) -> Json:
    kind = {"x-turnout-cost-usd": "number", "retry-after": "integer"}.get(name, "string")
    return {"description": text, "schema": {"type": kind}}


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
