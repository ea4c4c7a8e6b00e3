"""`POST /v1/responses`: a chat request in other clothes. Nothing is kept, so there is nothing to get or delete."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from services.contracts.errors import TurnoutError
from services.contracts.messages import ChatRequest, Image
from services.gateway.asking import Asking, check_model
from services.gateway.body import read_json
from services.gateway.conversing import conversing, user_of
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.responses_in import in_own_words, messages, to_request, turns
from services.gateway.responses_out import opened
from services.gateway.responses_schema import HARMLESS, HINTS, ResponsesBody
from services.gateway.responses_stream import ResponseStream
from services.gateway.responses_writer import ResponseWriter
from services.gateway.schema import parse
from services.gateway.translate import images_in


async def responses(edge: Edge, exchange: Exchange) -> None:
    """Answer a conversation, streamed or whole."""
    raw = await read_json(exchange)
    body = parse(ResponsesBody, raw, HARMLESS, HINTS)
    check_model(edge, exchange, body.model)
    request, conversation = to_request(body), turns(body)
    wanted = images_in(turn.content for turn in conversation)

    def with_images(images: Mapping[str, Image]) -> ChatRequest:
        return msgspec.structs.replace(request, messages=messages(conversation, images))

    def writer(asking: Asking) -> ResponseWriter:
        return ResponseWriter(opened(exchange.id, asking.created_s, asking.started.component, body, request))

    try:
        async with conversing(edge, exchange, body, user_of(raw), wanted, with_images) as asking:
            if body.stream:
                await ResponseStream(exchange, asking, writer).run()
                return
            answer = await asking.answer()
    except TurnoutError as error:
        in_own_words(error)
        raise
    whole = writer(asking)
    for delta in answer.deltas:
        whole.add(delta)
    whole.end(answer.finished, answer.turnout, int(time.time()))
    await exchange.respond_json(whole.response)
