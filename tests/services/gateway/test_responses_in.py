from __future__ import annotations

from typing import Any

import pytest

from services.contracts.errors import ContextLengthExceeded, InvalidRequest, Unsupported, UpstreamError
from services.contracts.messages import (
    Blob,
    Image,
    ImagePart,
    Message,
    ResponseFormat,
    Sampling,
    TextPart,
    ToolCall,
    ToolSpec,
)
from services.gateway.responses_in import in_own_words, messages, to_request, turns
from services.gateway.responses_schema import HARMLESS, HINTS, ResponsesBody
from services.gateway.schema import parse
from services.gateway.translate import images_in


def body(**more: Any) -> ResponsesBody:
    return parse(ResponsesBody, {"model": "auto", "input": "hello", **more}, HARMLESS, HINTS)


def told(*items: Any, **more: Any) -> list[Message]:
    return list(messages(turns(body(input=list(items), **more)), {}))


def call(name: str = "f", call_id: str = "c1", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}", **more}


def test_a_string_is_what_the_user_says_and_instructions_go_before_it() -> None:
    assert messages(turns(body(instructions="be brief")), {}) == (
        Message("system", "be brief"),
        Message("user", "hello"),
    )


def test_every_role_and_kind_of_text_becomes_a_turn() -> None:
    assert told(
        {"role": "developer", "content": "rules"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": t} for t in ("a", "b")]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "no", "annotations": [], "logprobs": []}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
        {"role": "system", "content": "more rules"},
    ) == [
        Message("system", "rules"),
        Message("user", "a\nb"),
        Message("assistant", "no"),
        Message("assistant", "never"),
        Message("system", "more rules"),
    ]


def test_what_the_assistant_said_and_called_at_once_is_one_turn() -> None:
    calls = (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}"))
    found = told(
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "let me see"},
        call(),
        call("g", "c2"),
        {"role": "assistant", "content": "wait"},
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "1"}]},
        call("h", "c3"),
    )
    assert found == [
        Message("user", "?"),
        Message("assistant", "let me see\nwait", tool_calls=calls),
        Message("tool", "2", tool_call_id="c2"),
        Message("tool", "1", tool_call_id="c1"),
        Message("assistant", "", tool_calls=(ToolCall("c3", "h", "{}"),)),
    ]


def test_null_says_as_much_as_nothing_in_what_a_client_sends_back() -> None:
    (turn,) = told(call(id="fc_1", status="completed", namespace=None, caller=None, async_=None))
    assert turn.tool_calls == (ToolCall("c1", "f", "{}"),)


def test_an_image_is_asked_for_by_its_place_and_put_there() -> None:
    parts = [
        {"type": "input_text", "text": "what is it?"},
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "low", "file_id": None},
    ]
    conversation = turns(body(input=[{"role": "user", "content": parts}]))
    (wanted,) = images_in(turn.content for turn in conversation)
    assert (wanted.param, wanted.where.url) == ("input[0].content[1].image_url", "https://x/y.png")
    shown = Image(Blob("0", 1, data=b"x"), "image/png", 1, 1)
    (message,) = messages(conversation, {wanted.param: shown})
    assert message.content == (TextPart("what is it?"), ImagePart(shown, "low"))


def test_tools_form_and_sampling_are_those_of_chat() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    request = to_request(
        body(
            tools=[{"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": True}],
            tool_choice={"type": "function", "name": "f"},
            parallel_tool_calls=False,
            text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}},
            max_output_tokens=9,
            temperature=0.5,
            top_p=0.9,
            top_logprobs=2,
            reasoning={"effort": "low", "summary": "auto"},
            stream=True,
        )
    )
    assert request.tools == (ToolSpec("f", "d", schema, True),)
    assert (request.tool_choice, request.parallel_tool_calls, request.stream) == ("f", False, True)
    assert request.response_format == ResponseFormat("json_schema", schema, "n", True)
    assert request.sampling == Sampling(
        temperature=0.5, top_p=0.9, max_tokens=9, logprobs=True, top_logprobs=2, reasoning_effort="low"
    )
    assert to_request(body(include=["message.output_text.logprobs"])).sampling == Sampling(logprobs=True)
    assert to_request(body(text={"format": {"type": "json_object"}})).response_format == ResponseFormat("json_object")
    plain = to_request(body(tools=[{"type": "function", "name": "f"}], text={"verbosity": "medium"}, reasoning={}))
    assert plain.tools == (ToolSpec("f"),)
    assert (plain.tool_choice, plain.parallel_tool_calls, plain.sampling) == ("auto", True, Sampling())


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"truncation": "auto"}, "truncation"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"include": ["reasoning.encrypted_content", "file_search_call.results"]}, "include[1]"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice.type"),
        *(
            ({"tools": [{"type": "function", "name": "f"}, {"type": kind, "x": 1}]}, "tools[1].type")
            for kind in ("web_search", "file_search", "computer_use_preview", "mcp", "code_interpreter", "custom")
        ),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
    ],
)
def test_what_is_not_done_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        checked = body(**more)
        to_request(checked)
        turns(checked)
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["store", "background", "previous_response_id", "conversation", "prompt"])
def test_who_relies_on_what_is_kept_is_told_what_to_send(name: str) -> None:
    with pytest.raises(Unsupported, match="send the whole conversation as 'input'"):
        body(**{name: True})


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_tokens": 5}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": ""}], "instructions": "be brief"}, "input"),
        ({"input": [{"role": "user", "content": "x"}] * 4097}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"type": 5}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": None}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": []}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": "x", "mood": "good"}]}, "input[0].mood"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "data:,"}]}]},
            "input[0].content",
        ),
        ({"input": [{"role": "user", "content": "x"}, call(name="no name")]}, "input[1].name"),
        ({"input": [{"type": "function_call_output", "call_id": "c1", "output": "x"}]}, "input[0].call_id"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "name": "f"}] * 2}, "tools[1].name"),
        ({"tools": [{"type": "function", "name": "auto"}]}, "tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "f"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "text", "schema": {}}}}, "text.format.schema"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"metadata": {"a": 5}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
    ],
)
def test_what_is_wrong_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked = body(**more)
        to_request(checked)
        turns(checked)
    assert type(caught.value) is InvalidRequest
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("named", "here"),
    [
        ("messages", "input"),
        ("messages[2].content", "input"),
        ("response_format", "text.format"),
        ("max_tokens", "max_output_tokens"),
        ("tools", "tools"),
        ("text.format.schema", "text.format.schema"),
        (None, None),
    ],
)
def test_what_a_component_says_of_a_chat_is_put_into_the_words_of_a_response(
    named: str | None, here: str | None
) -> None:
    for error in (ContextLengthExceeded("too long", param=named), UpstreamError("down", param=named)):
        in_own_words(error)
        assert error.param == here
