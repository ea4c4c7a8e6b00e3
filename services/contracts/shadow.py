"""A request that was put to another component as well, beside the answer the client got: for whoever compares them."""

from __future__ import annotations

import msgspec

from services.contracts.errors import ErrorInfo
from services.contracts.events import Usage


class Side(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the two answers. `text` is cut where it is very long; `cut` says so."""

    component: str
    model: str = ""
    text: str = ""
    cut: bool = False
    finish_reason: str = ""
    total_ms: float = 0.0
    usage: Usage = Usage()
    error: ErrorInfo | None = None


class Shadow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Both answers. `id` is that of the decision; `question` the last user turn, cut like the answers."""

    id: str
    created_s: float
    tenant: str
    question: str
    answer: Side
    shadow: Side


SHADOW_DECODER = msgspec.msgpack.Decoder(Shadow)
