"""`/v1/responses` on real parts: the small model answers, calls and follows a schema as it does for chat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from tests.support.running import Running
from tests.support.upstream import Upstream

pytestmark = pytest.mark.system

QUESTION = "Classify the sentiment of: 'I loved every minute of it.'"
LOCAL: dict[str, Any] = {"turnout": {"privacy": "local"}}
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class City(BaseModel):
    name: str = Field(max_length=20)


def test_the_router_chooses_for_a_response_as_for_a_chat(system: Running) -> None:
    raw = system.client().responses.with_raw_response.create(model="auto", input=QUESTION, max_output_tokens=16)
    answer = raw.parse()
    assert answer.model == raw.headers["x-turnout-component"] == "small"
    assert answer.output_text
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0
    decision = system.decision(answer.id.removeprefix("resp_"))
    assert decision["component"] == "small"
    assert decision["usage"]["output_tokens"] == answer.usage.output_tokens
    assert decision["usage"]["cost_usd"] == pytest.approx(float(raw.headers["x-turnout-cost-usd"]))


def test_what_is_streamed_adds_up_to_the_whole(system: Running) -> None:
    stream = system.client().responses.create(
        model="small", input="Count from 1 to 100, every number.", max_output_tokens=24, temperature=0, stream=True
    )
    events = list(stream)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == text
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 24
    assert sum(event.type == "response.output_text.delta" for event in events) > 3


def test_the_small_model_calls_a_function_and_is_told_what_came_of_it(system: Running) -> None:
    client = system.client()
    conversation: list[Any] = [{"role": "user", "content": "How is the weather in Rome?"}]
    with client.responses.stream(
        model="small",
        input=conversation,
        tools=[WEATHER],
        tool_choice="required",
        max_output_tokens=60,
    ) as stream:
        first = stream.get_final_response()
    (call,) = first.output
    assert call.type == "function_call"
    assert call.name == "weather"
    assert json.loads(call.arguments)["city"]
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 31 degrees"}
    echoed: Any = call.model_dump()
    second = client.responses.create(model="small", input=[*conversation, echoed, output], max_output_tokens=30)
    assert second.output_text


def test_an_answer_of_the_small_model_is_parsed(system: Running) -> None:
    answer = system.client().responses.parse(
        model="auto", input="Which city is the capital of France?", text_format=City, extra_body=LOCAL
    )
    assert answer.model == "small"
    assert answer.output_parsed is not None
    assert answer.output_parsed.name


def test_the_cloud_is_asked_in_chat(system: Running, upstream: Upstream) -> None:
    upstream.requests.clear()
    with system.client().responses.stream(
        model="cloud", instructions="Be brief.", input="What is the matter?", reasoning={"effort": "low"}
    ) as stream:
        answer = stream.get_final_response()
    assert answer.output_text
    (sent,) = upstream.requests
    assert [(m["role"], m["content"]) for m in sent.body["messages"]] == [
        ("system", "Be brief."),
        ("user", "What is the matter?"),
    ]
    assert sent.body["reasoning_effort"] == "low"
