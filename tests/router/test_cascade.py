"""A cheaper component tries first only where that pays, and nothing it says is given away unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.cascade import LEAST_SAVING, acceptance, cascade
from router.graph import TRIED_FIRST
from router.policy import Wanted
from router.verify import Verifier, as_asked, judge, lead_of, score, with_evidence
from services.contracts.errors import UpstreamError
from services.contracts.events import Delta, Event, Finished, TokenLogprob, Usage
from services.contracts.messages import ChatRequest, Message, ResponseFormat, Sampling, Task
from services.contracts.price import Price
from services.worker.service import Description
from tests.router.test_graph import Script, Scripted, System, catalog, model, question, system
from tests.router.test_policy import CLOUD, TOOLS, beat, pick

CHEAP = beat("small", "llm_local", price=Price(0.01, 0.02), capabilities=("chat", "logprobs"))
UNSURE = Wanted(0.8, None, 60.0)
WEIGHTS = (-1.0, 1.0, 0.3)
VERIFIER = Verifier(1.5, WEIGHTS)


def told(power: float) -> dict[str, Verifier]:
    return {name: Verifier(power, WEIGHTS) for name in ("small", "cloud", "tools")}


def test_an_attempt_is_made_where_it_is_expected_to_save() -> None:
    found = cascade(pick(CHEAP, CLOUD, TOOLS, floor=0.8), UNSURE, told(1.5))
    assert found is not None
    assert found.attempt.answering is CHEAP
    sure = pick(CLOUD, floor=0.8).order[0]
    assert found.cost_usd == pytest.approx(found.attempt.cost_usd + (1 - found.accepted) * sure.cost_usd)
    assert found.cost_usd < sure.cost_usd


@pytest.mark.parametrize(
    ("why", "cheap", "wanted", "floor"),
    [
        ("good enough without", CHEAP, Wanted(0.6, None, 60), 0.6),
        ("nobody is sure to be good enough", CHEAP, Wanted(0.99, None, 60), 0.99),
        ("as dear", beat("small", "llm_local", price=Price(0.9, 3.9), capabilities=("chat", "logprobs")), UNSURE, 0.8),
        ("no evidence", beat("small", "llm_local", price=Price(0.01, 0.02)), UNSURE, 0.8),
        ("no time for both", CHEAP, Wanted(0.8, None, 2.5), 0.8),
        ("no money for both", CHEAP, Wanted(0.8, 501e-6, 60), 0.8),
        (
            "asleep",
            beat("small", "llm_local", price=Price(0.01, 0.02), capabilities=("chat", "logprobs"), state="asleep"),
            UNSURE,
            0.8,
        ),
    ],
)
def test_no_attempt_is_made_where_it_does_not_pay(why: str, cheap: object, wanted: Wanted, floor: float) -> None:
    assert cascade(pick(cheap, CLOUD, floor=floor), wanted, told(1.5)) is None, why  # type: ignore[arg-type]


def test_a_verifier_that_tells_nothing_makes_no_attempts() -> None:
    assert cascade(pick(CHEAP, CLOUD, floor=0.8), UNSURE, told(0.1)) is None


@given(
    quality=st.floats(0.05, 0.95), floor=st.floats(0.05, 0.95), power=st.floats(0.2, 4.0), more=st.floats(0.001, 0.04)
)
def test_more_is_accepted_of_the_better_and_less_for_a_higher_floor(
    quality: float, floor: float, power: float, more: float
) -> None:
    rate = acceptance(quality, floor, power)
    assert 0 <= rate <= 1
    assert acceptance(quality + more, floor, power) >= rate - 1e-9
    assert acceptance(quality, floor + more, power) <= rate + 1e-9


@given(quality=st.floats(0.1, 0.7), ratio=st.floats(0.0, 1.0))
def test_an_attempt_never_costs_more_than_it_is_worth(quality: float, ratio: float) -> None:
    assume(quality < 0.8)
    cheap = beat("small", "llm_local", price=Price(ratio, 4 * ratio), capabilities=("chat", "logprobs"))
    found = cascade(pick(cheap, CLOUD, floor=0.8), UNSURE, told(2.0))
    if found is not None:
        assert found.cost_usd <= (1 - LEAST_SAVING) * pick(CLOUD, floor=0.8).order[0].cost_usd


SURE = tuple(TokenLogprob(word, -0.001, ((word, -0.001), ("x", -9.0))) for word in "abcdef")
TORN = tuple(TokenLogprob(word, -3.0, (("x", -2.9), (word, -3.0))) for word in "abcdef")
ASKED = ChatRequest((Message("user", "?"),))


def answer(logprobs: tuple[TokenLogprob, ...] = SURE, text: str = "fine", reason: str = "stop") -> tuple[Event, ...]:
    return (Delta(text, logprobs=logprobs), Finished(Usage(3, 2, cost_usd=0.001), reason))  # type: ignore[arg-type]


def test_an_answer_the_model_was_sure_of_is_believed_more() -> None:
    assert judge(ASKED, answer(SURE), 0.5, VERIFIER).score > judge(ASKED, answer(TORN), 0.5, VERIFIER).score
    assert judge(ASKED, answer(SURE), 0.7, VERIFIER).score > judge(ASKED, answer(SURE), 0.4, VERIFIER).score
    assert judge(ASKED, answer(()), 0.4, VERIFIER).score == 0.4


@pytest.mark.parametrize(
    ("request_", "events", "why"),
    [
        (ASKED, answer(text="  "), "no answer"),
        (ASKED, answer(reason="length"), "ended by length"),
        (ASKED, answer(reason="content_filter"), "ended by content_filter"),
        (ASKED, (Delta("x", refusal="no"), *answer()), "no answer in text"),
        (ASKED, answer()[:1], "no answer"),
        (ChatRequest(ASKED.messages, response_format=ResponseFormat("json_object")), answer(), "not JSON"),
    ],
)
def test_what_can_never_be_given_to_the_client(request_: ChatRequest, events: tuple[Event, ...], why: str) -> None:
    verdict = judge(request_, events, 0.99, VERIFIER)
    assert verdict.score == 0
    assert why in (verdict.why or "")


def test_an_answer_cut_where_the_client_wanted_it_is_a_whole_one() -> None:
    asked = ChatRequest(ASKED.messages, sampling=Sampling(max_tokens=6))
    assert judge(asked, answer(reason="length"), 0.5, VERIFIER).why is None


TOKEN = st.floats(-1e9, 0) | st.just(float("-inf"))


@given(prior=st.floats(0, 1), logprob=TOKEN, rivals=st.lists(TOKEN, max_size=3))
def test_whatever_the_odds_a_score_is_a_probability(prior: float, logprob: float, rivals: list[float]) -> None:
    token = TokenLogprob("a", logprob, (("a", logprob), *((f"b{n}", rival) for n, rival in enumerate(rivals))))
    assert 0 <= score(prior, lead_of(token), VERIFIER) <= 1


def test_the_client_sees_of_the_evidence_what_it_has_asked_for() -> None:
    asked = ChatRequest(ASKED.messages, stream=True, sampling=Sampling(logprobs=True, top_logprobs=1))
    put = with_evidence(ASKED)
    assert (put.stream, put.sampling.logprobs, put.sampling.top_logprobs) == (False, True, 2)
    plain, told = as_asked(ASKED, answer()), as_asked(asked, answer())
    assert isinstance(plain[0], Delta)
    assert not plain[0].logprobs
    assert isinstance(told[0], Delta)
    assert [len(one.top) for one in told[0].logprobs] == [1] * 6


# In the running router.

COMPONENTS: dict[str, dict[str, object]] = {
    "small": {"kind": "llm_local", "source": "file:x", "sha256": "0" * 64, "quality": 0.55},
    "cloud": {"kind": "llm_cloud", "model": "m", "quality": 0.95},
}


def says(events: tuple[Event, ...]) -> Script:
    async def script(task: Task) -> AsyncIterator[Event]:
        for event in events:
            yield event

    return script


def cheap(script: Script) -> Scripted:
    return Scripted(Description("m", ("chat", "logprobs"), price=Price(0.01, 0.01)), script)


@asynccontextmanager
async def running(script: Script, cloud: Scripted, **router: object) -> AsyncIterator[System]:
    """A router whose predictor knows what the certainty of a tiny model is worth."""
    snapshot = catalog(COMPONENTS, **{"cascade": "auto", **router})
    async with system(snapshot, small=cheap(script), cloud=cloud) as it:
        it.router._predictor.verifiers = {"tiny": VERIFIER}
        yield it


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cheap_answer_that_proves_good_is_given_and_nobody_else_asked(stream: bool) -> None:
    cloud = model(price=5.0)
    async with running(says(answer(SURE, "cheap")), cloud) as it:
        call = it.call(question("hi", stream=stream), quality=0.6)
        events = [event async for event in call.events()]
        routed = await call.routed()
    assert routed is not None
    decision = routed.decision
    assert [event.text for event in events if isinstance(event, Delta)] == ["cheap"]
    assert not any(event.logprobs for event in events if isinstance(event, Delta))
    assert decision.component == "small"
    assert decision.degraded is None
    assert decision.usage.cost_usd == 0  # the answer's own cost comes with its end
    assert {c.steps: c.rejected for c in decision.candidates} == {("small",): None, ("cloud",): TRIED_FIRST}
    assert (decision.attempts[0].verified or 0) >= 0.6
    assert not cloud.asked


async def test_a_cheap_answer_that_does_not_is_paid_for_and_never_seen() -> None:
    async with running(says(answer(TORN, "cheap")), model(price=5.0)) as it:
        text, decision = await it.ask(question("hi", stream=True), quality=0.6)
    assert text == "hello"
    assert decision.component == "cloud"
    assert [(a.component, a.rejected) for a in decision.attempts] == [("small", "below the floor"), ("cloud", "")]
    assert (decision.attempts[0].verified or 1) < 0.6
    assert decision.attempts[0].usage.input_tokens == 3
    assert decision.usage == decision.attempts[0].usage
    assert decision.usage.cost_usd > 0


async def test_an_attempt_that_fails_goes_up_too() -> None:
    async def fails(task: Task) -> AsyncIterator[Event]:
        raise UpstreamError("no")
        yield Delta()

    async with running(fails, model(price=5.0)) as it:
        text, decision = await it.ask(question("hi"), quality=0.6)
    assert text == "hello"
    assert [a.component for a in decision.attempts] == ["small", "cloud"]


async def test_an_attempt_that_takes_too_long_leaves_the_time_that_the_sure_one_needs() -> None:
    async def hangs(task: Task) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield Delta()

    async with running(hangs, model(price=5.0)) as it:
        text, decision = await it.ask(question("hi"), quality=0.6, seconds=5.3)
    assert text == "hello"
    assert [a.error.code if a.error else "" for a in decision.attempts] == ["deadline_exceeded", ""]


async def test_who_has_asked_for_no_quality_does_not_wait_for_an_attempt() -> None:
    cloud = model(price=5.0)
    async with running(says(answer(SURE)), cloud, quality=0.6) as it:
        await it.ask(question("hi"))
        await it.ask(question("hi"), auto="small", quality=0.6)
    assert len(cloud.asked) == 1
    async with running(says(answer(SURE)), cloud, cascade="never") as it:
        await it.ask(question("hi"), quality=0.6)
    assert len(cloud.asked) == 2


async def test_where_nobody_has_measured_what_certainty_is_worth_no_attempt_is_made() -> None:
    cloud = model(price=5.0)
    async with running(says(answer(SURE)), cloud) as it:
        it.router._predictor.verifiers = {"medium": VERIFIER}
        await it.ask(question("hi"), quality=0.6)
    assert len(cloud.asked) == 1


async def test_leaving_while_an_attempt_is_made_stops_it() -> None:
    reached, freed = asyncio.Event(), asyncio.Event()

    async def hangs(task: Task) -> AsyncIterator[Event]:
        try:
            reached.set()
            await asyncio.Event().wait()
            yield Delta()
        finally:
            freed.set()

    async with running(hangs, model(price=5.0)) as it:
        asking = asyncio.create_task(it.ask(question("hi"), quality=0.6))
        await asyncio.wait_for(reached.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(freed.wait(), 5)
