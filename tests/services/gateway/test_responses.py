from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from services.bus.port import Incoming
from services.contracts.errors import (
    BudgetExceeded,
    ComponentTimeout,
    ContextLengthExceeded,
    NoCapableComponent,
    Overloaded,
    TurnoutError,
    Unsupported,
    UpstreamError,
)
from services.contracts.events import Delta, Event, Finished, ToolCallDelta, Usage
from services.contracts.feedback import FEEDBACK_DECODER
from services.contracts.messages import ChatRequest, Task
from tests.services.gateway.support import Front, Scripted, catalog, front
from tests.services.gateway.test_images import data_url, picture

TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}}
]


class City(BaseModel):
    name: str


def says(*events: Event) -> Scripted:
    async def play(task: Task) -> AsyncIterator[Event]:
        for event in events:
            yield event

    return Scripted(play)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Front]:
    async with front() as running:
        yield running


def asked(gate: Front) -> ChatRequest:
    request = gate.router.tasks[-1].request
    assert isinstance(request, ChatRequest)
    return request


async def test_a_plain_answer_carries_text_usage_and_our_headers() -> None:
    async with front() as gate:
        raw = await gate.openai().responses.with_raw_response.create(
            model="auto",
            input="one two",
            instructions="be brief",
            metadata={"a": "b"},
            user="somebody",
            store=False,
            extra_body={"turnout": {"quality": 0.3}},
        )
        answer = raw.parse()
        decision = answer.id.removeprefix("resp_")
        record = await gate.edge.decisions.read(decision, "")
        task = gate.router.tasks[-1]
        async with gate.http() as client:
            told = await client.post("/v1/feedback", json={"decision_id": decision, "quality": 1.0})
    assert answer.output_text == "one two "
    assert (answer.object, answer.status, answer.model) == ("response", "completed", "small")
    assert (answer.metadata, answer.instructions) == ({"a": "b"}, "be brief")
    assert answer.model_extra["store"] is False
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (5, 3, 8)
    assert answer.usage.input_tokens_details.cached_tokens == 2
    assert answer.model_extra["turnout"]["decision_id"] == decision
    assert answer.model_extra["turnout"]["cost_usd"] == pytest.approx(0.00025)
    assert raw.headers["x-turnout-component"] == "small"
    assert float(raw.headers["x-turnout-cost-usd"]) == pytest.approx(0.00025)
    assert raw.headers["x-turnout-decision-id"] == raw.headers["x-request-id"] == decision
    assert record.usage.output_tokens == 3
    assert task.wishes.quality == 0.3
    assert told.status_code == 200


async def test_a_streamed_answer_arrives_event_by_event() -> None:
    async with front() as gate:
        raw = await gate.openai().responses.with_raw_response.create(model="small", input="one two three", stream=True)
        assert float(raw.headers["x-turnout-cost-usd"]) == pytest.approx(0.00125)  # predicted: the end is not known yet
        events = [event async for event in raw.parse()]
        async with gate.http() as client:
            wire = await client.post("/v1/responses", json={"model": "small", "input": "one", "stream": True})
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(11))
    assert [event.delta for event in events[4:7]] == ["one ", "two ", "three "]
    assert events[-1].response.output_text == "one two three "
    assert events[-1].response.usage.output_tokens == 3
    assert events[-1].response.model_extra["turnout"]["cost_usd"] == pytest.approx(0.00025)
    assert {event.response.id for event in events if hasattr(event, "response")} == {events[-1].response.id}
    assert wire.headers["content-type"].startswith("text/event-stream")
    for block in wire.text.rstrip("\n").split("\n\n"):
        name, data = block.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]


async def test_a_function_is_called_and_its_output_answered() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        assert isinstance(task.request, ChatRequest)
        if task.request.messages[-1].role == "tool":
            yield Delta(f"It is {task.request.messages[-1].text}.")
            yield Finished(Usage(1, 1))
            return
        yield Delta("Let me see.")
        yield Delta(tool_calls=(ToolCallDelta(0, "call_a", "weather", '{"city":'),))
        yield Delta(tool_calls=(ToolCallDelta(0, arguments='"Rome"}'),))
        yield Finished(Usage(1, 1), "tool_calls")

    async with front({"small": Scripted(play)}) as gate:
        client = gate.openai()
        for stream in (False, True):
            conversation: list[Any] = [{"role": "user", "content": "How is it in Rome?"}]
            if stream:
                async with client.responses.stream(model="auto", input=conversation, tools=TOOLS) as live:
                    first = await live.get_final_response()
            else:
                first = await client.responses.create(model="auto", input=conversation, tools=TOOLS)
            call = first.output[1]
            assert (call.type, call.call_id, call.name, call.arguments) == (
                "function_call",
                "call_a",
                "weather",
                '{"city":"Rome"}',
            )
            # As objects of the client and as what they dump to: both are in use.
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
            for items in (first.output, [item.model_dump() for item in first.output]):
                second = await client.responses.create(model="auto", input=[*conversation, *items, output], tools=TOOLS)
                assert second.output_text == "It is sunny."
                turns = asked(gate).messages
                assert [turn.role for turn in turns] == ["user", "assistant", "tool"]
                assert turns[1].content == "Let me see."
                assert turns[1].tool_calls[0].arguments == '{"city":"Rome"}'
                assert turns[2].tool_call_id == "call_a"


async def test_an_answer_is_parsed_into_a_model() -> None:
    async with front({"small": says(Delta('{"name":'), Delta(' "Rome"}'), Finished(Usage(1, 1)))}) as gate:
        client = gate.openai()
        answer = await client.responses.parse(model="auto", input="?", text_format=City)
        form = asked(gate).response_format
        async with client.responses.stream(model="auto", input="?", text_format=City) as live:
            done = [event.parsed async for event in live if event.type == "response.output_text.done"]
            streamed = await live.get_final_response()
    assert answer.output_parsed == streamed.output_parsed == City(name="Rome")
    assert done == [City(name="Rome")]
    assert (form.type, form.name, form.strict) == ("json_schema", "City", True)
    assert answer.text.format.schema_ == form.schema


async def test_a_misfit_is_noticed_as_in_chat() -> None:
    async with front({"small": says(Delta("Rome"), Finished(Usage(1, 1)))}) as gate:
        told: asyncio.Queue[Incoming] = asyncio.Queue()
        await gate.bus.subscribe("turnout.v1.feedback.>", told.put)
        answer = await gate.openai().responses.create(model="auto", input="?", text={"format": {"type": "json_object"}})
        message = await asyncio.wait_for(told.get(), 5)
    verdict = FEEDBACK_DECODER.decode(message.data)
    assert (verdict.decision_id, verdict.source) == (answer.id.removeprefix("resp_"), "schema")


async def test_an_answer_that_was_cut_short_says_why() -> None:
    async with front({"small": says(Delta("half"), Finished(Usage(1, 1), "length"))}) as gate:
        client = gate.openai()
        answer = await client.responses.create(model="auto", input="?", max_output_tokens=16)
        events = [e async for e in await client.responses.create(model="auto", input="?", stream=True)]
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (answer.output_text, answer.output[0].status, answer.max_output_tokens) == ("half", "incomplete", 16)
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"


async def test_an_image_reaches_the_component() -> None:
    def question(url: str) -> list[Any]:
        parts = [{"type": "input_text", "text": "?"}, {"type": "input_image", "image_url": url, "detail": "low"}]
        return [{"role": "user", "content": parts}]

    async with front() as gate:
        client = gate.openai()
        await client.responses.create(model="auto", input=question(data_url(picture())))
        (image,) = asked(gate).images
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model="auto", input=question("data:image/png;base64,AAAA"))
    assert (image.mime, image.width_px, image.height_px) == ("image/png", 40, 30)
    assert caught.value.param == "input[0].content[1].image_url"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search_preview"}]}, "tools[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"extra_body": {"stop": ["x"]}}, "stop"),
        ({"extra_body": {"turnout": {"deadline_ms": 0}}}, "turnout.deadline_ms"),
    ],
)
async def test_what_is_not_done_is_refused_by_name(shared: Front, more: dict[str, Any], param: str) -> None:
    sent = len(shared.router.tasks)
    with pytest.raises(openai.BadRequestError) as caught:
        await shared.openai().responses.create(**{"model": "auto", "input": "?", **more})
    assert caught.value.param == param
    assert len(shared.router.tasks) == sent


@pytest.mark.asyncio(loop_scope="module")
async def test_a_model_that_is_not_there_is_not_found(shared: Front) -> None:
    with pytest.raises(openai.NotFoundError):
        await shared.openai().responses.create(model="nobody", input="?")
    with pytest.raises(openai.NotFoundError):  # nothing is kept
        await shared.openai().responses.retrieve("resp_1")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "param", "expected"),
    [
        (ContextLengthExceeded("too long", param="messages"), "input", openai.BadRequestError),
        (Unsupported("no forms", param="response_format"), "text.format", openai.BadRequestError),
        (BudgetExceeded("too dear"), None, openai.APIStatusError),
        (Overloaded("full", retry_after_s=2.3), None, openai.RateLimitError),
        (UpstreamError("vendor is down"), None, openai.InternalServerError),
        (NoCapableComponent("none", retry_after_s=0.1), None, openai.InternalServerError),
        (ComponentTimeout("late"), None, openai.InternalServerError),
    ],
)
async def test_a_refusal_becomes_the_clients_own_error_class(
    shared: Front, failure: TurnoutError, param: str | None, expected: type[openai.APIStatusError], stream: bool
) -> None:
    shared.router.refuse = failure
    try:
        with pytest.raises(expected) as caught:
            await shared.openai().responses.create(model="auto", input="?", stream=stream)
    finally:
        shared.router.refuse = None
    assert caught.value.body == {
        "message": failure.message,
        "type": failure.type,
        "param": param,
        "code": failure.code,
    }
    assert caught.value.response.headers.get("retry-after") == {429: "3", 503: "1"}.get(failure.status)


@pytest.mark.asyncio(loop_scope="module")
async def test_too_much_is_refused_as_in_chat() -> None:
    async with front(snapshot=catalog(max_body_bytes=20_000, max_json_depth=16)) as gate:
        client = gate.openai()
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model="auto", input="x" * 20_000)
        assert caught.value.status_code == 413
        deep: dict[str, Any] = {}
        for _ in range(16):
            deep = {"properties": deep}
        with pytest.raises(openai.BadRequestError, match="nested"):
            await client.responses.create(
                model="auto", input="?", tools=[{"type": "function", "name": "f", "parameters": deep}]
            )
        assert gate.router.tasks == []


async def test_a_failure_after_the_first_event_raises_in_the_client() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta("half")
        raise UpstreamError("broke off")

    seen: list[str] = []
    async with front({"small": Scripted(play)}) as gate:
        raw = await gate.openai().responses.with_raw_response.create(model="auto", input="?", stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            async for event in raw.parse():
                seen.append(event.type)  # noqa: PERF401 - the comprehension would be lost with the error
        record = await gate.edge.decisions.read(raw.headers["x-turnout-decision-id"], "")
    assert seen[-2:] == ["response.output_text.delta", "response.failed"]
    assert record.error is not None
    assert record.error.code == "upstream_error"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_frees_what_worked_for_it(stream: bool) -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta("x")
        await asyncio.Event().wait()

    worker = Scripted(play)
    async with front({"small": worker}) as gate:
        reader, writer = await gate.raw()
        body = json.dumps({"model": "auto", "input": "?", "stream": stream}).encode()
        writer.write(b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await asyncio.wait_for(worker.started.wait(), 5)
        if stream:
            await asyncio.wait_for(reader.readuntil(b'"delta":"x"'), 5)
        writer.close()
        await asyncio.wait_for(worker.freed.wait(), 5)
        async with asyncio.timeout(5):
            while gate.edge.metrics.in_flight:
                await asyncio.sleep(0.001)
        record = await gate.edge.decisions.read(gate.router.tasks[0].id, "")
    assert record.error is not None
    assert record.error.code == "cancelled"
