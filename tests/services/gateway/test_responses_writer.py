from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from services.contracts.errors import InvalidRequest, Overloaded, TurnoutError, UpstreamError
from services.contracts.events import Delta, Finished, FinishReason, TokenLogprob, ToolCallDelta, Usage
from services.contracts.messages import ChatRequest, Message, ToolSpec
from services.gateway.answers import TurnoutOut
from services.gateway.responses_events import StreamEvent
from services.gateway.responses_out import opened
from services.gateway.responses_schema import ResponsesBody
from services.gateway.responses_writer import ResponseWriter

TURNOUT = TurnoutOut("small", "m", "d" * 32, 0.5)
STRICT = TypeAdapter[Any](ResponseStreamEvent)


def writer(**more: Any) -> ResponseWriter:
    body = ResponsesBody(model="auto", input="hello", metadata={"a": "b"}, instructions="be brief")
    request = ChatRequest((Message("user", "hello"),), **more)
    return ResponseWriter(opened("0" * 32, 17, "small", body, request))


def written(
    *deltas: Delta, reason: FinishReason = "stop", error: TurnoutError | None = None
) -> tuple[list[Any], dict[str, Any]]:
    """The events as the official client reads them, each checked by its types, and the response at the end."""
    one = writer()
    events: list[StreamEvent] = one.begin()
    for delta in deltas:
        events += one.add(delta)
    events += one.end(Finished(Usage(5, 3, 2), reason), TURNOUT, 19) if error is None else one.fail(error)
    found = [STRICT.validate_json(msgspec.json.encode(event)) for event in events]
    assert [event.sequence_number for event in found] == list(range(len(found)))
    Response.model_validate_json(msgspec.json.encode(one.response))
    return found, msgspec.to_builtins(one.response)


def kinds(events: Sequence[Any]) -> list[str]:
    return [event.type.removeprefix("response.") for event in events]


def test_text_is_one_part_of_one_message() -> None:
    events, response = written(Delta("one "), Delta("two"))
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[2].item.status == "in_progress"
    assert events[2].item.content == []
    assert events[3].part.text == ""
    assert [event.delta for event in events[4:6]] == ["one ", "two"]
    assert events[6].text == events[7].part.text == events[8].item.content[0].text == "one two"
    assert {event.item_id for event in events[3:8]} == {events[2].item.id} == {events[8].item.id}
    assert (response["status"], response["completed_at"], response["incomplete_details"]) == ("completed", 19, None)
    assert response["output"][0]["status"] == "completed"
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == 2
    assert response["usage"]["total_tokens"] == 8
    assert response["turnout"]["cost_usd"] == 0.5


def test_calls_are_items_of_their_own_and_may_be_written_in_turns() -> None:
    events, response = written(
        Delta("let me see"),
        Delta(tool_calls=(ToolCallDelta(0, "call_a", "weather"),)),
        Delta(tool_calls=(ToolCallDelta(0, arguments='{"city":'), ToolCallDelta(1, "call_b", "time", "{}"))),
        Delta(tool_calls=(ToolCallDelta(0, arguments='"Rome"}'),)),
        reason="tool_calls",
    )
    assert kinds(events)[5:] == [
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event.output_index for event in events[2:-1]] == [0] * 6 + [1, 1, 2, 2, 1, 1, 1, 2, 2]
    message, first, second = response["output"]
    assert message["content"][0]["text"] == "let me see"
    assert (first["call_id"], first["name"], first["arguments"]) == ("call_a", "weather", '{"city":"Rome"}')
    assert (second["call_id"], second["name"], second["arguments"]) == ("call_b", "time", "{}")
    assert first["status"] == second["status"] == "completed"
    assert len({item["id"] for item in response["output"]}) == 3


def test_a_call_is_told_of_when_its_name_is_known_and_always_has_an_id() -> None:
    events, response = written(
        Delta(tool_calls=(ToolCallDelta(0, arguments="{"),)),
        Delta(tool_calls=(ToolCallDelta(0, name="f", arguments="}"),)),
        Delta(tool_calls=(ToolCallDelta(1, arguments="[]"),)),
    )
    assert (events[2].item.name, events[2].item.arguments) == ("f", "")
    assert events[3].delta == "{}"
    named, nameless = response["output"]
    assert (named["name"], named["arguments"], nameless["name"], nameless["arguments"]) == ("f", "{}", "", "[]")
    assert named["call_id"]
    assert nameless["call_id"] not in ("", named["call_id"])


def test_text_after_a_call_is_another_message() -> None:
    _, response = written(Delta("a"), Delta(tool_calls=(ToolCallDelta(0, "c", "f", "{}"),)), Delta("b"))
    assert [item["type"] for item in response["output"]] == ["message", "function_call", "message"]
    assert [item["content"][0]["text"] for item in response["output"][::2]] == ["a", "b"]


def test_a_refusal_is_a_part_beside_the_text() -> None:
    events, response = written(Delta("well, "), Delta(refusal="I will "), Delta(refusal="not"))
    assert kinds(events)[5:-1] == [
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
    ]
    assert [event.content_index for event in events[3:-2]] == [0] * 4 + [1] * 5
    assert [part["type"] for part in response["output"][0]["content"]] == ["output_text", "refusal"]
    assert response["output"][0]["content"][1]["refusal"] == "I will not"


@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_only_the_last_item_of_an_answer_that_was_cut_short_is_incomplete(reason: FinishReason, why: str) -> None:
    calls = (ToolCallDelta(0, "c", "f", "{}"), ToolCallDelta(1, "d", "g", "{"))
    events, response = written(Delta("a", tool_calls=calls), reason=reason)
    assert events[-1].type == "response.incomplete"
    assert (response["status"], response["incomplete_details"], response["completed_at"]) == (
        "incomplete",
        {"reason": why},
        None,
    )
    assert [item["status"] for item in response["output"]] == ["completed", "completed", "incomplete"]


def test_an_empty_answer_has_an_empty_text() -> None:
    events, response = written(Delta(""))
    assert "output_text.delta" not in kinds(events)
    assert kinds(events)[2:5] == ["output_item.added", "content_part.added", "output_text.done"]
    assert [part["text"] for part in response["output"][0]["content"]] == [""]


def test_logprobs_come_with_their_piece_and_with_the_whole() -> None:
    events, response = written(Delta("hé", logprobs=(TokenLogprob("hé", -0.5, (("\ufffd", -2.0),)),)), Delta("!"))
    assert events[4].logprobs[0].token == "hé"
    assert events[5].logprobs == []
    (token,) = response["output"][0]["content"][0]["logprobs"]
    assert token["bytes"] == list("hé".encode())
    assert token["top_logprobs"] == [{"token": "\ufffd", "logprob": -2.0, "bytes": []}]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamError("broke off"), "server_error"),
        (Overloaded("full"), "rate_limit_exceeded"),
        (InvalidRequest("no", param="input"), "invalid_prompt"),
    ],
)
def test_an_answer_that_breaks_off_says_so_twice(error: TurnoutError, code: str) -> None:
    events, response = written(Delta("half"), error=error)
    assert kinds(events)[-2:] == ["failed", "error"]
    assert (events[-1].code, events[-1].message, events[-1].param) == (error.code, error.message, error.param)
    assert events[-1].model_extra["error"]["message"] == error.message
    assert (response["status"], response["error"]) == ("failed", {"code": code, "message": error.message})
    assert response["output"][0]["status"] == "in_progress"


def test_what_was_asked_for_is_said_again() -> None:
    response = msgspec.to_builtins(writer(tools=(ToolSpec("f", strict=True),), tool_choice="f").response)
    assert (response["id"], response["created_at"], response["model"]) == (f"resp_{'0' * 32}", 17, "small")
    assert (response["metadata"], response["instructions"]) == ({"a": "b"}, "be brief")
    assert (response["store"], response["background"], response["previous_response_id"]) == (False, False, None)
    assert response["tool_choice"] == {"type": "function", "name": "f"}
    assert response["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": {}, "strict": True}
    ]
    assert response["text"]["format"] == {"type": "text"}
    assert writer(tools=(ToolSpec("f"),)).response.tool_choice == "auto"
