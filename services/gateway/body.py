"""Reads a request's body: no more than allowed, and not for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from services.contracts.errors import InvalidRequest, PayloadTooLarge, TurnoutError
from services.gateway.exchange import Exchange
from services.gateway.gone import ClientGone
from services.gateway.strict_json import read_object

LEAST_BYTES_PER_S = 64 * 1024
"""Who sends at least this fast may take longer than `header_timeout_s`."""


class RequestTimeout(TurnoutError):
    """The client is too slow in sending its request."""

    status = 408
    code = "request_timeout"
    type = "invalid_request_error"


async def read_body(exchange: Exchange, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        PayloadTooLarge: it is, or says it will be, larger than `max_bytes`.
        RequestTimeout: it comes too slowly.
        ClientGone: the client left.
    """
    announced = exchange.header(b"content-length")
    if announced is not None and int(announced) > max_bytes:  # the HTTP parser has checked that it is a number
        raise _too_large(max_bytes)
    message = None
    timeout_s = exchange.state.gateway.header_timeout_s
    started_s = asyncio.get_running_loop().time()
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s) as limit:
            while True:
                message = await exchange.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone("the client left")
                piece = message.get("body", b"")
                size += len(piece)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                if not message.get("more_body", False):
                    exchange.body_bytes = size
                    return b"".join([*pieces, piece]) if pieces else bytes(piece)
                pieces.append(piece)
                limit.reschedule(started_s + timeout_s + size / LEAST_BYTES_PER_S)
    except TimeoutError as error:
        raise RequestTimeout("the request's body took too long to arrive") from error


async def read_json(exchange: Exchange) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        InvalidRequest: it is none. Besides what `read_body` raises.
    """
    gateway = exchange.state.gateway
    body = await read_body(exchange, gateway.max_body_bytes)
    if not body:
        raise InvalidRequest("the body is empty; send a JSON object")
    return read_object(body, gateway.max_json_depth)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {max_bytes} bytes (gateway.max_body_bytes)")
