from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio

from services.contracts.errors import (
    BudgetExceeded,
    ComponentTimeout,
    ComponentUnavailable,
    ContextLengthExceeded,
    NoCapableComponent,
    Overloaded,
    TurnoutError,
    Unsupported,
    UpstreamError,
)
from services.contracts.events import (
    Delta,
    Event,
    Finished,
    Passage,
    Step,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from services.contracts.messages import ChatRequest, Task
from tests.services.gateway.support import Front, Scripted, chat, front


async def test_a_plain_answer_carries_text_usage_and_our_headers() -> None:
    async with front() as gate:
        client = gate.openai()
        raw = await client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": "one two"}]
        )
        answer = raw.parse()
    assert answer.choices[0].message.content == "one two "
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "small"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 8
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 2
    assert raw.headers["x-turnout-component"] == "small"
    assert float(raw.headers["x-turnout-cost-usd"]) == pytest.approx(0.00025)
    assert raw.headers["x-turnout-decision-id"] == raw.headers["x-request-id"] == answer.id.removeprefix("chatcmpl-")


async def test_a_streamed_answer_arrives_piece_by_piece_with_usage_last() -> None:
    async with front() as gate:
        raw = await gate.openai().chat.completions.with_raw_response.create(
            model="small",
            messages=[{"role": "user", "content": "one two three"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        assert raw.headers["x-turnout-component"] == "small"
        assert float(raw.headers["x-turnout-cost-usd"]) == pytest.approx(0.00125)  # predicted: the end is not known yet
        chunks = [chunk async for chunk in raw.parse()]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].delta.content for c in chunks[1:-2]] == ["one ", "two ", "three "]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert all(chunk.usage is None for chunk in chunks[:-1])
    turnout = chunks[-1].model_extra["turnout"]
    assert turnout["cost_usd"] == pytest.approx(0.00025)


async def test_a_stream_without_include_usage_has_none_but_tells_its_final_cost() -> None:
    async with front() as gate:
        response = await gate.ask("one", stream=True)
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert not any("usage" in chunk for chunk in chunks)
    assert chunks[-1]["turnout"]["cost_usd"] == pytest.approx(0.00025)
    assert response.headers["content-type"].startswith("text/event-stream")


async def test_tool_calls_come_whole_and_in_pieces() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        assert isinstance(task.request, ChatRequest)
        assert task.request.tool_choice == "weather"
        yield Delta(tool_calls=(ToolCallDelta(0, "call_a", "weather", ""),))
        yield Delta(tool_calls=(ToolCallDelta(0, arguments='{"city":'),))
        yield Delta(tool_calls=(ToolCallDelta(0, arguments='"Rome"}'), ToolCallDelta(1, "call_b", "time", "{}")))
        yield Finished(Usage(1, 1), "tool_calls")

    async with front({"small": Scripted(play)}) as gate:
        client = gate.openai()
        for stream in (False, True):
            if stream:
                async with client.chat.completions.stream(
                    model="auto", messages=[{"role": "user", "content": "?"}], **_TOOLS
                ) as live:
                    answer = await live.get_final_completion()
            else:
                answer = await client.chat.completions.create(
                    model="auto", messages=[{"role": "user", "content": "?"}], **_TOOLS
                )
            calls = answer.choices[0].message.tool_calls
            assert calls is not None
            assert [(c.id, c.function.name, c.function.arguments) for c in calls if c.type == "function"] == [
                ("call_a", "weather", '{"city":"Rome"}'),
                ("call_b", "time", "{}"),
            ]
            assert answer.choices[0].message.content is None
            assert answer.choices[0].finish_reason == "tool_calls"


async def test_a_chunk_has_one_piece_of_a_tool_call_however_many_came_at_once() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta(
            tool_calls=(
                ToolCallDelta(0, "call_a", "weather", ""),
                ToolCallDelta(0, arguments='{"city":'),
                ToolCallDelta(1, "call_b", "time", "{}"),
                ToolCallDelta(0, arguments='"Rome"'),
            )
        )
        yield Delta(tool_calls=(ToolCallDelta(0, arguments=" "), ToolCallDelta(0, arguments="}")))
        yield Finished(Usage(1, 1), "tool_calls")

    async with front({"small": Scripted(play)}) as gate:
        response = await gate.ask("?", stream=True, **_TOOLS)
    chunks = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n")[:-2]]
    assert [chunk["choices"][0]["delta"].get("tool_calls") for chunk in chunks] == [
        None,
        [
            {
                "index": 0,
                "id": "call_a",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"Rome"'},
            },
            {"index": 1, "id": "call_b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        ],
        [{"index": 0, "function": {"arguments": " }"}}],
        None,
    ]


_TOOLS: dict[str, object] = {
    "tools": [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}},
        {"type": "function", "function": {"name": "time"}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
}


async def test_an_answer_of_the_model_can_be_sent_back_as_a_turn() -> None:
    async with front() as gate:
        client = gate.openai()
        first = await client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "a"}])
        turn = first.choices[0].message.model_dump()
        await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "a"}, turn, {"role": "user", "content": "b"}]
        )
        request = gate.router.tasks[-1].request
    assert isinstance(request, ChatRequest)
    assert [m.role for m in request.messages] == ["user", "assistant", "user"]
    assert request.messages[1].content == "a "


async def test_a_tool_turn_reaches_the_component_whole() -> None:
    async with front() as gate:
        response = await gate.ask(
            messages=[
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
            ]
        )
        assert response.status_code == 200
        request = gate.router.tasks[-1].request
    assert isinstance(request, ChatRequest)
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "tool"]
    assert request.messages[1].content == "a\nb"
    assert request.messages[2].tool_calls[0].arguments == "{}"
    assert request.messages[3].tool_call_id == "c1"


async def test_json_schema_sampling_and_wishes_reach_the_component() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with front() as gate:
        await gate.openai().chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": "?"}],
            response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
            max_completion_tokens=9,
            temperature=0.5,
            top_p=0.9,
            seed=2**62,
            stop=["x", "y"],
            logprobs=True,
            top_logprobs=2,
            logit_bias={"12": -5},
            reasoning_effort="low",
            n=1,
            user="somebody",
            extra_body={
                "turnout": {
                    "quality": 0.3,
                    "max_cost_usd": 0.5,
                    "privacy": "local",
                    "strict": True,
                    "deadline_ms": 5000,
                }
            },
        )
        task = gate.router.tasks[-1]
    assert isinstance(task.request, ChatRequest)
    assert task.request.response_format.schema == schema
    assert task.request.response_format.strict
    sampling = task.request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (9, 0.5, 0.9)
    assert (sampling.seed, sampling.stop, sampling.logit_bias) == (2**62, ("x", "y"), {12: -5})
    assert (sampling.logprobs, sampling.top_logprobs, sampling.reasoning_effort) == (True, 2, "low")
    assert (task.wishes.quality, task.wishes.max_cost_usd) == (0.3, 0.5)
    assert (task.wishes.privacy, task.wishes.strict) == ("local", True)


async def test_logprobs_are_given_in_openais_form() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta("hé", logprobs=(TokenLogprob("hé", -0.5, (("hé", -0.5), ("\ufffd", -2.0))),))
        yield Finished(Usage(1, 1))

    async with front({"small": Scripted(play)}) as gate:
        answer = await gate.openai().chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "?"}], logprobs=True, top_logprobs=2
        )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert logprobs.content[0].bytes == list("hé".encode())
    assert [(t.token, t.bytes) for t in logprobs.content[0].top_logprobs] == [
        ("hé", list("hé".encode())),
        ("\ufffd", None),
    ]


async def test_sources_steps_and_degradation_are_shown() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta("see [1]")
        yield Finished(
            Usage(1, 1, cost_usd=0.5),
            steps=(Step("search", "q", "1 passage", 3.0),),
            sources=(Passage("text", "doc.md", 0.7),),
            detail={"intent": "ask"},
        )

    async with front({"small": Scripted(play)}) as gate:
        gate.router.degraded = "no component reaches quality 0.9"
        turnout = (await gate.ask()).json()["turnout"]
    assert turnout["degraded"] == "no component reaches quality 0.9"
    assert turnout["sources"][0]["source"] == "doc.md"
    assert turnout["steps"][0]["name"] == "search"
    assert turnout["detail"] == {"intent": "ask"}
    assert turnout["component"] == "small"
    assert turnout["model"] == "scripted-1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Front]:
    async with front() as running:
        yield running


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "expected", "status"),
    [
        (ContextLengthExceeded("too long", param="messages"), openai.BadRequestError, 400),
        (Unsupported("no tools", param="tools"), openai.BadRequestError, 400),
        (BudgetExceeded("too dear"), openai.APIStatusError, 402),
        (Overloaded("full", retry_after_s=2.3), openai.RateLimitError, 429),
        (UpstreamError("vendor is down"), openai.InternalServerError, 502),
        (NoCapableComponent("none", retry_after_s=0.1), openai.InternalServerError, 503),
        (ComponentTimeout("late"), openai.InternalServerError, 504),
    ],
)
async def test_a_refusal_becomes_the_clients_own_error_class(
    shared: Front, failure: TurnoutError, expected: type[openai.APIStatusError], status: int, stream: bool
) -> None:
    shared.router.refuse = failure
    with pytest.raises(expected) as caught:
        await shared.openai().chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "?"}], stream=stream
        )
    error = caught.value
    assert error.status_code == status
    assert error.body == {
        "message": failure.message,
        "type": failure.type,
        "param": failure.param,
        "code": failure.code,
    }
    assert error.response.headers["x-turnout-decision-id"] == error.response.headers["x-request-id"]
    wait = {429: "3", 503: "1"}.get(status)
    assert error.response.headers.get("retry-after") == wait
    shared.router.refuse = None
    assert (await shared.ask()).status_code == 200


async def test_a_request_whose_time_is_over_is_not_sent_again_by_openais_sdk() -> None:
    async with front() as gate:
        client = gate.openai(max_retries=1)
        sent: list[int] = []
        for failure in (ComponentTimeout("late"), UpstreamError("down")):
            gate.router.refuse = failure
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "?"}])
            sent.append(len(gate.router.tasks))
    assert sent == [1, 3]


async def test_a_failure_after_the_first_event_ends_the_stream_with_an_error_and_no_done() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta("half")
        raise UpstreamError("broke off")

    async with front({"small": Scripted(play)}) as gate:
        response = await gate.ask(stream=True)
        assert response.status_code == 200
        assert "[DONE]" not in response.text
        last = json.loads(response.text.rstrip().rpartition("data: ")[2])
        assert last["error"]["code"] == "upstream_error"
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in await gate.openai().chat.completions.create(
                model="auto", messages=[{"role": "user", "content": "?"}], stream=True
            ):
                pass
        record = await gate.edge.decisions.read(response.headers["x-turnout-decision-id"], "")
    assert record.error is not None
    assert record.error.code == "upstream_error"
    assert record.first_token_ms is not None


async def test_a_deadline_is_kept_when_nobody_answers() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield Delta("never")

    worker = Scripted(play)
    async with front({"small": worker}) as gate:
        with pytest.raises(openai.InternalServerError) as caught:
            await gate.openai().chat.completions.create(
                model="auto",
                messages=[{"role": "user", "content": "?"}],
                extra_body={"turnout": {"deadline_ms": 80}},
            )
        assert caught.value.status_code == 504
        await asyncio.wait_for(worker.freed.wait(), 5)


async def test_without_a_router_the_answer_is_503_at_once() -> None:
    async with front() as gate:
        for listener in [x for x in gate.bus._listeners if x.pattern == "turnout.v1.route"]:  # type: ignore[attr-defined]
            await listener.stop()
        await gate.router.die()
        async with asyncio.timeout(5):
            while gate.edge.roster.ready("router"):
                await asyncio.sleep(0.001)
        response = await gate.ask()
        assert response.status_code == 503
        assert response.json()["error"]["message"] == "no router is running"
        assert response.headers["retry-after"] == "1"
        record = await gate.edge.decisions.read(response.headers["x-request-id"], "")
    assert record.error is not None
    assert record.requested == "auto"


async def test_an_empty_answer_is_an_answer() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Finished(Usage(1, 0), "length")

    async with front({"small": Scripted(play)}) as gate:
        plain = (await gate.ask()).json()["choices"][0]
        streamed = (await gate.ask(stream=True)).text
    assert plain["message"]["content"] == ""
    assert plain["finish_reason"] == "length"
    assert streamed.count("data: ") == 3
    assert streamed.endswith("data: [DONE]\n\n")


async def test_many_streams_at_once_do_not_mix() -> None:
    async with front({"small": Scripted(slots=32)}) as gate, gate.http() as client:
        texts = [f"{n} a b c" for n in range(24)]
        answers = await asyncio.gather(
            *(client.post("/v1/chat/completions", json=chat(text, stream=True)) for text in texts)
        )
    for text, answer in zip(texts, answers, strict=True):
        chunks = [json.loads(x[6:]) for x in answer.text.split("\n\n") if x and "[DONE]" not in x]
        assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks).split() == text.split()


async def test_a_worker_that_dies_mid_answer_ends_the_stream_with_an_error() -> None:
    go = asyncio.Event()

    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta("half")
        await go.wait()

    async with (
        front({"small": Scripted(play)}) as gate,
        gate.http() as client,
        client.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as response,
    ):
        lines = response.aiter_lines()
        assert "assistant" in await anext(lines)
        await gate.bus.publish("turnout.v1.gone.small.small-1", b"")
        rest = [line async for line in lines]
    assert "component_unavailable" in rest[-1] or "component_unavailable" in rest[-2]
    assert not any("[DONE]" in line for line in rest)


async def test_a_component_that_is_unavailable_is_a_503() -> None:
    async with front() as gate:
        gate.router.refuse = ComponentUnavailable("draining")
        assert (await gate.ask()).status_code == 503
