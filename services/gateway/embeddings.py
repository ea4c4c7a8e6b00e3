"""`POST /v1/embeddings`."""

from __future__ import annotations

import base64
import struct
from typing import Literal

import msgspec

from services.contracts.errors import InternalError, Unsupported
from services.contracts.events import Embedded
from services.gateway.answers import TurnoutOut
from services.gateway.asking import Asking, check_model, check_size
from services.gateway.body import read_json
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.gone import while_connected
from services.gateway.schema import EmbedBody, parse
from services.gateway.translate import to_embed


class EmbedUsage(msgspec.Struct, frozen=True):
    """`usage`."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingOut(msgspec.Struct, frozen=True):
    """A vector: numbers, or base64 of little-endian float32."""

    index: int
    embedding: str | tuple[float, ...]
    object: Literal["embedding"] = "embedding"


class EmbeddingsOut(msgspec.Struct, frozen=True):
    """The vectors, in the order of the inputs."""

    data: list[EmbeddingOut]
    model: str
    usage: EmbedUsage
    turnout: TurnoutOut
    object: Literal["list"] = "list"


async def embeddings(edge: Edge, exchange: Exchange) -> None:
    """Turn texts into vectors."""
    body = parse(EmbedBody, await read_json(exchange))
    check_model(edge, exchange, body.model)
    asking = Asking(edge, exchange, to_embed(body), body.model, body.turnout)
    check_size(edge, asking.task, exchange.body_bytes)
    async with while_connected(exchange), asking:
        answer = await asking.answer()
    embedded = answer.result
    if not isinstance(embedded, Embedded):
        raise InternalError("the component answered with something other than vectors")
    if body.dimensions not in (None, embedded.dimensions):
        raise Unsupported(f"this model's vectors have {embedded.dimensions} dimensions", param="dimensions")
    usage = answer.finished.usage
    await exchange.respond_json(
        EmbeddingsOut(
            [
                EmbeddingOut(index, _vector(data, embedded.dimensions, body.encoding_format == "base64"))
                for index, data in enumerate(embedded.vectors)
            ],
            answer.started.component,
            EmbedUsage(usage.input_tokens, usage.input_tokens),
            answer.turnout,
        )
    )


def _vector(data: bytes, dimensions: int, as_base64: bool) -> str | tuple[float, ...]:
    """A vector as the client wants it. Both forms are little-endian float32 at heart."""
    return base64.b64encode(data).decode("ascii") if as_base64 else struct.unpack(f"<{dimensions}f", data)
