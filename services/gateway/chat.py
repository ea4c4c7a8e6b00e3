"""`POST /v1/chat/completions`."""

from __future__ import annotations

from services.gateway.answers import chat_out
from services.gateway.asking import check_model
from services.gateway.body import read_json
from services.gateway.chat_stream import ChatStream
from services.gateway.conversing import conversing, user_of
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.schema import ChatBody, parse
from services.gateway.translate import contents, images_in, to_chat


async def chat(edge: Edge, exchange: Exchange) -> None:
    """Answer a conversation, streamed or whole."""
    raw = await read_json(exchange)
    body = parse(ChatBody, raw)
    check_model(edge, exchange, body.model)
    parts = contents(body)
    async with conversing(
        edge, exchange, body, user_of(raw), images_in(parts), lambda images: to_chat(body, parts, images)
    ) as asking:
        if body.stream:
            options = body.stream_options
            include_usage = options is not None and bool(options.include_usage)
            await ChatStream(exchange, asking, include_usage=include_usage).run()
            return
        answer = await asking.answer()
    await exchange.respond_json(
        chat_out(exchange.id, asking.created_s, answer.started, answer.deltas, answer.finished, answer.turnout)
    )
