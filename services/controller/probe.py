"""Asks a new instance something real before it serves: loading without an error does not mean that it works."""

from __future__ import annotations

import hashlib
import secrets
import struct
import time
import zlib

import msgspec

from services.bus.port import Bus
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.errors import ComponentTimeout, ComponentUnavailable, from_info
from services.contracts.events import ACK_DECODER, ENVELOPE_DECODER, Failed, Finished
from services.contracts.messages import (
    Blob,
    ChatRequest,
    EmbedRequest,
    Image,
    Message,
    ReadRequest,
    Request,
    Sampling,
    Task,
    encode,
)

_SIDE_PX = 64


async def probe(bus: Bus, beat: Beat, timeout_s: float) -> None:
    """Return when the instance has answered.

    Raises:
        TurnoutError: it has not, and why.
    """
    request = question_for(beat)
    if request is None:
        return
    inbox = bus.inbox()
    name = f"probe{secrets.token_hex(8)}"
    task = Task(name, name, beat.component, request, inbox.subject, time.time() + timeout_s)
    try:
        ack = ACK_DECODER.decode(await bus.ask(subjects.do(beat.component, beat.instance), encode(task), timeout_s))
        if ack.error is not None:
            raise from_info(ack.error)
        last = ENVELOPE_DECODER.decode(await inbox.next()).events[-1]
    except msgspec.DecodeError as error:
        raise ComponentUnavailable("its answer is not readable") from error
    finally:
        inbox.close()
    if isinstance(last, Failed):
        raise from_info(last.error)
    if not isinstance(last, Finished):
        raise ComponentTimeout("its answer has no end")


def question_for(beat: Beat) -> Request | None:
    """The least that shows an instance to work; None where asking costs money or reaches beyond the instance. Pure."""
    if beat.state == "unconfigured" or not beat.local:
        return None
    if beat.kind == "llm_local" and "chat" in beat.capabilities:
        return ChatRequest((Message("user", "Answer with OK."),), sampling=Sampling(temperature=0.0, max_tokens=4))
    if "embed" in beat.capabilities:
        return EmbedRequest(("probe",))
    if "read" in beat.capabilities:
        png = white_png(_SIDE_PX)
        digest = hashlib.sha256(png).hexdigest()
        return ReadRequest(Image(Blob(digest, len(png), png), "image/png", _SIDE_PX, _SIDE_PX))
    return None


def white_png(side_px: int) -> bytes:
    """A white square, 8 bits of grey.

    Source: https://www.w3.org/TR/png-3/
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    rows = (b"\x00" + b"\xff" * side_px) * side_px
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
