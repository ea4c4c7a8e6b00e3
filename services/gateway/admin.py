"""`/admin/…`: look at and change what runs. Every change is an order to the controller, which does it or refuses it."""

from __future__ import annotations

import re
from collections import deque

import msgspec

from services.bus.port import Incoming
from services.contracts import subjects
from services.contracts.catalog_file import MAX_BYTES
from services.contracts.control import (
    DONE_DECODER,
    HAPPENING_DECODER,
    Apply,
    Command,
    Done,
    Happening,
    Rollback,
    ScaleTo,
)
from services.contracts.errors import ComponentUnavailable, InvalidRequest, NotFound, from_info
from services.contracts.messages import encode
from services.gateway.body import read_body, read_json
from services.gateway.edge import Edge
from services.gateway.exchange import ENCODER, Exchange, Header
from services.gateway.gone import while_connected

_ORDER_TIMEOUT_S = 7200.0
_TOLD = 1000
MAX_COUNT = 256
_MAX_NAME_CHARS = 255
_ETAG = re.compile(rb'"?(\d{1,18})"?')
_STREAM: tuple[Header, ...] = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"))


async def catalog(_edge: Edge, exchange: Exchange) -> None:
    """Show the catalog in force. `ETag` is its revision, for `If-Match`."""
    snapshot = exchange.state.snapshot
    shown = {"revision": snapshot.revision, "catalog": snapshot.catalog.model_dump(mode="json")}
    etag = (b"etag", f'"{snapshot.revision}"'.encode())
    await exchange.respond(200, ENCODER.encode(shown), ((b"content-type", b"application/json"), etag))


async def apply(edge: Edge, exchange: Exchange) -> None:
    """Make the body, YAML or JSON, the catalog in force; answer when it is, or when it is refused.

    `If-Match: "REVISION"` refuses with 409 if another one is in force by now. `x-turnout-file` names it in errors.
    """
    # A limit for requests that is too small must not be in the way of the catalog that puts it right.
    body = await read_body(exchange, max(exchange.state.gateway.max_body_bytes, MAX_BYTES))
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start})") from error
    given = exchange.header(b"if-match")
    after = _ETAG.fullmatch(given) if given is not None else None
    if given is not None and after is None:
        raise InvalidRequest("If-Match must be the number of a revision")
    name = (exchange.header(b"x-turnout-file") or b"turnout.yaml").decode("utf-8", "replace")[:_MAX_NAME_CHARS]
    await _carry_out(edge, exchange, Apply(text, name, int(after[1]) if after else None))


async def rollback(edge: Edge, exchange: Exchange) -> None:
    """Make an earlier catalog the one in force: `{"revision": 7}`, or `{}` for the one before."""
    body = await read_json(exchange)
    revision = body.get("revision")
    if body.keys() - {"revision"} or not (revision is None or _is_count(revision)):
        raise InvalidRequest('send {"revision": NUMBER} or {}', param="revision")
    await _carry_out(edge, exchange, Rollback(revision))


async def scale(edge: Edge, exchange: Exchange) -> None:
    """Run so many instances: `{"component": "small", "count": 3}`."""
    body = await read_json(exchange)
    component, count = body.get("component"), body.get("count")
    if body.keys() != {"component", "count"} or not isinstance(component, str):
        raise InvalidRequest('send {"component": NAME, "count": NUMBER}', param="component")
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_COUNT:
        raise InvalidRequest(f"count must be a whole number from 0 to {MAX_COUNT}", param="count")
    await _carry_out(edge, exchange, ScaleTo(component, count))


async def history(edge: Edge, exchange: Exchange) -> None:
    """List the revisions that are kept, newest first."""
    entries = await edge.bus.kv_history(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY)
    in_force = exchange.state.snapshot.revision
    shown = [
        {"revision": e.revision, "created_s": e.created_s, "bytes": len(e.value), "in_force": e.revision == in_force}
        for e in reversed(entries)
    ]
    await exchange.respond_json({"revisions": shown})


async def events(edge: Edge, exchange: Exchange) -> None:
    """List what has happened; with `?follow=1` as server-sent events, and go on with what happens from now on."""
    query = exchange.scope["query_string"]
    if query not in (b"", b"follow=1"):
        raise InvalidRequest("this takes follow=1 or nothing", param="follow")
    follow = bool(query)
    inbox = edge.bus.inbox()

    async def on_event(message: Incoming) -> None:
        inbox.offer(message.data)

    listening = await edge.bus.subscribe(subjects.EVENTS, on_event) if follow else None
    try:
        past = [event async for data in edge.bus.replay(subjects.EVENTS) if (event := _happening(data)) is not None]
        if not follow:
            await exchange.respond_json({"events": past})
            return
        async with while_connected(exchange):
            await exchange.begin(200, list(_STREAM))
            for event in past:
                await exchange.write(_sse(event), more=True)
            told = deque(past, maxlen=_TOLD)
            while True:
                event = _happening(await inbox.next())
                if event is not None and event not in told:  # else it was among those of the past, or came twice
                    told.append(event)
                    await exchange.write(_sse(event), more=True)
    finally:
        inbox.close()
        if listening is not None:
            await listening.stop()


async def _carry_out(edge: Edge, exchange: Exchange, command: Command) -> None:
    done = await _order(edge, command, _ORDER_TIMEOUT_S)
    if done.error is not None:
        raise from_info(done.error)
    shown = {"revision": done.revision, "changes": done.changes, "swap_s": done.swap_s, "load_s": done.load_s}
    await exchange.respond_json({**shown, "trial": done.trial} if done.trial else shown)


async def _order(edge: Edge, command: Command, timeout_s: float) -> Done:
    try:
        return DONE_DECODER.decode(await edge.bus.ask(subjects.CONTROLLER, encode(command), timeout_s))
    except ComponentUnavailable as error:
        raise NotFound("no controller runs on this bus: start the system with `turnout up`") from error


def _happening(data: bytes) -> Happening | None:
    """An event; None if another version has written it."""
    try:
        return HAPPENING_DECODER.decode(data)
    except msgspec.DecodeError:
        return None


def _sse(event: Happening) -> bytes:
    return b"data: " + ENCODER.encode(event) + b"\n\n"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
