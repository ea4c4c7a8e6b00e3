"""`POST /v1/feedback`: how good an answer was, told by whoever got it."""

from __future__ import annotations

import msgspec

from services.contracts import subjects
from services.contracts.errors import InvalidRequest, NotFound
from services.contracts.messages import encode
from services.gateway.body import read_body
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.schema import FeedbackBody, parse
from services.gateway.signals import verdict_on
from services.gateway.strict_json import read_object

MAX_BODY_BYTES = 4096
_MAX_DEPTH = 4


class FeedbackOut(msgspec.Struct, frozen=True):
    """The verdict as it was taken, and whom it concerns."""

    decision_id: str
    component: str
    model: str
    quality: float


async def feedback(edge: Edge, exchange: Exchange) -> None:
    """Take a verdict on an answer of this tenant's."""
    raw = await read_body(exchange, MAX_BODY_BYTES)
    if not raw:
        raise InvalidRequest("the body is empty; send a JSON object")
    body = parse(FeedbackBody, read_object(raw, _MAX_DEPTH))
    try:
        decision = await edge.decisions.read(body.decision_id, exchange.tenant)
    except NotFound as error:
        raise NotFound(error.message, param="decision_id") from error
    if not decision.component or decision.error is not None:
        raise InvalidRequest("that request got no answer that could be judged", param="decision_id")
    verdict = verdict_on(decision, body.quality, "client")
    await edge.bus.record(subjects.feedback(decision.id, verdict.source), encode(verdict))
    await exchange.respond_json(FeedbackOut(decision.id, decision.component, decision.model, body.quality))
