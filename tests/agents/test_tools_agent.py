"""The tool agent behind the real worker runtime, with a scripted model and scripted documents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from agents.tools.grounding import unfounded
from agents.tools.service import ToolAgent
from agents.tools.toolbox import Toolbox
from services.contracts import catalog
from services.contracts.errors import ConfigError, Unsupported, UpstreamError
from services.contracts.events import Delta, Event, Finished, Found, Passage, ToolCallDelta, Usage
from services.contracts.messages import ChatRequest, Message, ResponseFormat, SearchRequest, Task, ToolSpec
from services.worker.service import Description, Job, Surroundings
from tests.support.direct import Direct, chat, serving
from tests.support.routing import Team, team

NOW = datetime(2024, 5, 15, 12, 30, tzinfo=UTC)
PASSAGE = Passage("The fee is 340 francs.", "fees.md", 1.0, relevance=0.9)
Turn = str | Sequence[tuple[str, Any]]


class Model:
    """Says or calls what its script has next, and remembers what it was asked."""

    def __init__(self, *script: Turn, capabilities: tuple[Any, ...] = ("chat", "tools")) -> None:
        self._script = list(script)
        self._capabilities = capabilities
        self.asked: list[ChatRequest] = []
        self.cut_off = 0  # which of its turns ends for want of room

    async def start(self) -> None: ...

    def describe(self) -> Description:
        return Description("model", self._capabilities, price=None)

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        assert isinstance(task.request, ChatRequest)
        self.asked.append(task.request)
        turn = self._script.pop(0)
        if turn == "raise":
            raise UpstreamError("the model is away")
        if isinstance(turn, str):
            yield Delta(turn)
            yield Finished(Usage(10, 5, cost_usd=0.001))
            return
        for index, (name, arguments) in enumerate(turn):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            yield Delta(tool_calls=(ToolCallDelta(index, f"call-{len(self.asked)}-{index}", name, text),))
        yield Finished(Usage(10, 5, cost_usd=0.001), "length" if len(self.asked) == self.cut_off else "tool_calls")

    async def stop(self) -> None: ...


class Search:
    async def start(self) -> None: ...

    def describe(self) -> Description:
        return Description("search", ("search",))

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        assert isinstance(task.request, SearchRequest)
        yield Found((PASSAGE, Passage("Unrelated.", "other.md", 0.5, relevance=0.1)))
        yield Finished(Usage())

    async def stop(self) -> None: ...


@asynccontextmanager
async def agent(peers: Team, max_steps: int = 6) -> AsyncIterator[Direct]:
    spec = catalog.ToolAgent(kind="tool_agent", max_steps=max_steps)
    around = Surroundings(peers.bus, "tools", "tools-1", roster=peers.roster)
    async with serving(peers.bus, ToolAgent(spec, around, lambda: NOW), component="tools") as direct:
        yield direct


def names(finished: Finished) -> list[str]:
    return [step.name for step in finished.steps]


async def test_pure_calculation_needs_no_model_and_is_exact() -> None:
    async with team() as peers, agent(peers) as direct:
        text, finished = await direct.text(chat("What is 123456789 * 987654321 + 17.5% of 2340?"))
    assert text == "123456789 * 987654321 + 17.5% of 2340 = 121932631112635678.5"
    assert names(finished) == ["calculate"]
    assert finished.steps[0].error is None
    assert finished.usage == Usage()


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("how many days between 2024-02-28 and 2024-03-01", "2 days"),
        ("what weekday was 4 July 1776", "Thursday"),
        ("What date is 90 days after 2024-01-31?", "2024-04-30"),
        ("Was 1900 a leap year?", "not a leap year"),
        ("What time is it in Tokyo?", "21:30 in Asia/Tokyo"),
        ("What is today's date?", "Wednesday, 15 May 2024"),
        ("How many weeks are there between 1 January 2024 and 1 March 2024?", "8 whole weeks, 60 days"),
        ("What percent of 80 is 20?", "= 25%"),
        ("What is 2/3 + 0?", "≈ 0.666666666667 (rounded"),
        ("calculate 1/0", "division by zero"),
    ],
)
async def test_direct_answers(question: str, part: str) -> None:
    async with team() as peers, agent(peers) as direct:
        text, _ = await direct.text(chat(question))
    assert part in text


async def test_nobody_to_understand_is_a_refusal_that_others_may_take_up() -> None:
    async with team(chat=Model("hello", capabilities=("chat",))) as peers, agent(peers) as direct:
        with pytest.raises(Unsupported) as caught:
            await direct.text(chat("A train travels 60 km in 2 hours. How fast is it?", stream=True))
        assert caught.value.retryable
        assert peers.requests == []


async def test_model_chooses_tools_and_every_call_is_a_step() -> None:
    model = Model([("calculate", {"expression": "60 / 2"})], "It travels at 30 km/h.")
    async with team(chat=model) as peers, agent(peers) as direct:
        text, finished = await direct.text(chat("A train travels 60 km in 2 hours. How fast is it?"))
    assert text == "It travels at 30 km/h."
    assert names(finished) == ["model", "calculate", "model"]
    assert finished.steps[1].output == "60 / 2 = 30"
    assert finished.usage == Usage(20, 10, cost_usd=0.002)
    first, second = model.asked
    assert {spec.name for spec in first.tools} >= {"calculate", "days_between", "weekday", "now"}
    assert "search_documents" not in {spec.name for spec in first.tools}
    assert "Wednesday, 2024-05-15" in first.messages[0].text
    assert second.messages[-1].role == "tool"
    assert second.messages[-1].text == "60 / 2 = 30"
    assert second.messages[-1].tool_call_id == second.messages[-2].tool_calls[0].id
    assert {task.depth for task in peers.requests} == {1}


async def test_question_with_numbers_begins_with_a_tool_and_one_call_at_a_time() -> None:
    model = Model([("calculate", {"expression": "60 / 2"})], "30 km/h.", "Hello to you.")
    async with team(chat=model) as peers, agent(peers) as direct:
        await direct.text(chat("A train travels 60 km in 2 hours. How fast is it?"))
        await direct.text(chat("Hello!"))
    assert [request.tool_choice for request in model.asked] == ["required", "auto", "auto"]
    assert not any(request.parallel_tool_calls for request in model.asked)


@pytest.mark.parametrize(("given", "limits"), [(None, [384, 384]), (8, [128, 8]), (900, [900, 900])])
async def test_limit_holds_for_the_answer_and_leaves_room_for_the_first_call(
    given: int | None, limits: list[int]
) -> None:
    model = Model([("calculate", {"expression": "60 / 2"})], "30 km/h.")
    async with team(chat=model) as peers, agent(peers) as direct:
        await direct.text(chat("A train travels 60 km in 2 hours. How fast is it?", max_tokens=given))
    assert [request.sampling.max_tokens for request in model.asked] == limits


async def test_call_that_was_cut_off_is_not_made() -> None:
    model = Model([("calculate", {"expression": "60 / 2"})], [("calculate", '{"expression": "6')])
    model.cut_off = 2
    async with team(chat=model) as peers, agent(peers) as direct:
        text, finished = await direct.text(chat("A train travels 60 km in 2 hours. How fast is it?", max_tokens=8))
    assert text == "60 / 2 = 30"
    assert names(finished) == ["model", "calculate", "model"]


@pytest.mark.parametrize(
    "written",
    [
        '{"name": "calculate", "arguments": {"expression": "60 / 2"}}\n',
        '```json\n{\n  "name": "calculate",\n  "arguments": {"expression": "60 / 2"}\n}\n```',
        '<tool_call>\n{"name": "calculate", "arguments": {"expression": "60 / 2"}}\n</tool_call>',
        "<tool_response",
    ],
)
async def test_call_written_out_as_text_is_no_answer(written: str) -> None:
    same = [("calculate", {"expression": "60 / 2"})]
    model = Model(same, same, written)
    async with team(chat=model) as peers, agent(peers) as direct:
        text, _ = await direct.text(chat("A train travels 60 km in 2 hours. How fast is it?"))
    assert text == "60 / 2 = 30"
    assert model.asked[-1].messages[-1].role == "user", "it is told that it may only answer"


async def test_number_alone_is_nothing_to_calculate() -> None:
    model = Model([("calculate", {"expression": "60 / 2"})], [("calculate", {"expression": "30"})], "")
    async with team(chat=model) as peers, agent(peers) as direct:
        text, finished = await direct.text(chat("A train travels 60 km in 2 hours. How fast is it?"))
    assert text == "60 / 2 = 30"
    assert finished.steps[3].output == "error: 30 is a number already; there is nothing to calculate"


async def test_documents_are_searched_and_cited() -> None:
    model = Model([("search_documents", {"query": "fee"})], [("calculate", {"expression": "340 * 2"})], "680 francs.")
    async with team(chat=model, search=Search()) as peers, agent(peers) as direct:
        text, finished = await direct.text(chat("What do two of us pay?"))
    assert text == "680 francs."
    assert finished.sources == (PASSAGE,)
    assert names(finished) == ["model", "search", "search_documents", "model", "calculate", "model"]


async def test_number_that_no_tool_gave_does_not_leave() -> None:
    model = Model([("calculate", {"expression": "17 * 23"})], "That makes 401.")
    async with team(chat=model) as peers, agent(peers) as direct:
        text, finished = await direct.text(chat("I pack 17 boxes of 23 nails. How many nails?"))
    assert text == "17 * 23 = 391"
    assert finished.detail == {"replaced_numbers": ["401"]}


async def test_bad_calls_are_told_to_the_model_which_may_correct_them() -> None:
    model = Model(
        [("calculate", "{not json"), ("calculate", {"expression": "2 +"}), ("rm", {}), ("weekday", {"date": 5})],
        [("calculate", {"expression": "2 + 2", "extra": 1}), ("calculate", '{"a":' * 3000)],
        [("calculate", {"expression": "2 + 2"})],
        "4",
    )
    async with team(chat=model) as peers, agent(peers) as direct:
        text, finished = await direct.text(chat("Two and two more, please."))
    assert text == "4"
    told = [message.text for message in model.asked[-1].messages if message.role == "tool"]
    assert [one.startswith("error: ") for one in told] == [True] * 6 + [False]
    assert names(finished).count("calculate") == 5


async def test_same_call_again_ends_the_loop() -> None:
    same = [("calculate", {"expression": "6 * 7"})]
    model = Model(same, same, "It is 42.")
    async with team(chat=model) as peers, agent(peers, max_steps=20) as direct:
        text, finished = await direct.text(chat("What do you get of six and seven?"))
    assert text == "It is 42."
    assert names(finished).count("calculate") == 1
    assert model.asked[-1].tool_choice == "none"


async def test_steps_are_bounded_and_the_results_are_told_all_the_same() -> None:
    script: list[Turn] = [[("calculate", {"expression": f"{n} + 1"})] for n in range(10, 20)]
    async with team(chat=Model(*script)) as peers, agent(peers, max_steps=3) as direct:
        text, finished = await direct.text(chat("Count for me, will you?"))
    assert names(finished).count("model") == 3
    assert text.splitlines() == ["10 + 1 = 11", "11 + 1 = 12"]


async def test_answer_without_tools_is_the_models_own() -> None:
    async with team(chat=Model("Hello to you.")) as peers, agent(peers) as direct:
        text, _ = await direct.text(chat("Hello!"))
    assert text == "Hello to you."


async def test_failing_model_is_the_routers_to_replace() -> None:
    async with team(chat=Model([("now", {})], "raise")) as peers, agent(peers) as direct:
        with pytest.raises(UpstreamError):
            await direct.text(chat("Is it late?", stream=True))


async def test_what_it_cannot_do_is_refused() -> None:
    asked = (Message("user", "2 + 2"),)
    async with team() as peers, agent(peers) as direct:
        for wrong in (
            ChatRequest(asked, tools=(ToolSpec("f"),)),
            ChatRequest(asked, response_format=ResponseFormat("json_object")),
            SearchRequest("x"),
        ):
            with pytest.raises(Unsupported):
                async for _ in direct.events(wrong):
                    pytest.fail("nothing may be answered")
        assert direct.worker.beat().capabilities == ("chat",)
    with pytest.raises(ConfigError):
        ToolAgent(catalog.ToolAgent(kind="tool_agent"), Surroundings(peers.bus, "tools", "tools-1"))


async def test_tools_describe_themselves_as_json_schemas() -> None:
    box = Toolbox(lambda: NOW, None)
    for spec in box.specs:
        assert spec.description
        assert spec.parameters["type"] == "object"
        assert spec.parameters["additionalProperties"] is False
        assert "$ref" not in json.dumps(spec.parameters)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("It is 391 nails.", []),
        ("It is 391.0, or 1,234.5 in all.", []),
        ("About 0.67.", []),
        ("That is 66.6666666667%.", []),
        ("1. First\n2. Second [1]", []),
        ("It is 392.", ["392"]),
        ("-391", []),
        ("It is " + "9" * 80, ["9" * 80]),
    ],
)
def test_numbers_of_an_answer_are_those_of_the_tools(answer: str, wrong: list[str]) -> None:
    assert unfounded(answer, ["17 * 23 = 391", "2/3 ≈ 0.666666666667", "1234.5"]) == wrong
