from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.needs import Needs, needs_of
from router.policy import Choice, Profile, Wanted, World, choose
from router.predictor import Estimate
from router.session import Held
from services.contracts.beat import Beat, Speed
from services.contracts.messages import ChatRequest, Message, ResponseFormat, Sampling, Task, ToolSpec, Wishes
from services.contracts.price import Price

CHAT = Needs(frozenset({"chat"}), input_tokens=100)
ESTIMATES = {
    "tiny": Estimate(0.7, 0.1),
    "large": Estimate(0.95, 0.05),
    "tool_agent": Estimate(0.02, 0.01),
    "grounded_tiny": Estimate(0.8, 0.1),
    "grounded_large": Estimate(0.97, 0.1),
}


def beat(component: str, kind: str, n: int = 1, **fields: object) -> Beat:
    base: dict[str, object] = {
        "capabilities": ("chat",),
        "slots": 4,
        "speed": Speed(service_s=1.0),
        "state": "ready",
    }
    return Beat(
        component=component,
        kind=kind,
        instance=f"{component}-{n}",
        generation=1,
        pid=1,
        host="h",
        **{**base, **fields},  # type: ignore[arg-type]
    )


SMALL = beat("small", "llm_local", price=Price(0.01, 0.02))
CLOUD = beat("cloud", "llm_cloud", price=Price(1, 4), local=False, capabilities=("chat", "tools", "json", "image"))
TOOLS = beat("tools", "tool_agent")
EYES = beat("eyes", "vision", capabilities=("read", "answer"))
DOCS = beat("docs", "retrieval", capabilities=("search", "ingest", "embed", "answer"))
PROFILES = {
    "small": Profile("tiny"),
    "cloud": Profile("large"),
    "tools": Profile("tool_agent"),
    "eyes": Profile("vision"),
    "docs": Profile("retrieval"),
}


def pick(
    *beats: Beat,
    needs: Needs = CHAT,
    floor: float = 0.6,
    max_cost_usd: float | None = None,
    deadline_in_s: float = 60.0,
    pinned: str | None = None,
    depth: int = 0,
    estimates: Mapping[str, Estimate] = ESTIMATES,
    relevance: float = 0.0,
    pending: Mapping[str, int] | None = None,
    excluded: frozenset[str] = frozenset(),
    held: Held | None = None,
    conversation: str = "",
) -> Choice:
    wanted = Wanted(floor, max_cost_usd, deadline_in_s, pinned, depth)
    world = World(beats, PROFILES, pending or {}, relevance, excluded, held=held, conversation=lambda: conversation)
    return choose(needs, wanted, world, estimates, 100.0)


def first(choice: Choice) -> tuple[str, ...]:
    return tuple(b.component for b in choice.order[0].instances)


def reason(choice: Choice, *steps: str) -> str | None:
    return next(c.rejected for c in choice.candidates if c.steps == steps)


def test_cheapest_that_reaches_the_floor_wins() -> None:
    choice = pick(SMALL, CLOUD, TOOLS)
    assert first(choice) == ("small",)
    assert choice.degraded is None
    assert reason(choice, "cloud") == "dearer"
    assert "below the floor" in (reason(choice, "tools") or "")


def test_floor_above_the_cheap_one_goes_up() -> None:
    assert first(pick(SMALL, CLOUD, floor=0.9)) == ("cloud",)


def test_floor_nobody_reaches_takes_the_best_and_says_so() -> None:
    choice = pick(SMALL, CLOUD, floor=0.99)
    assert first(choice) == ("cloud",)
    assert "0.95 is below the floor of 0.99" in (choice.degraded or "")


def test_privacy_local_rejects_what_leaves_the_machine_whatever_the_floor() -> None:
    needs = Needs(frozenset({"chat"}), local_only=True)
    choice = pick(SMALL, CLOUD, needs=needs, floor=0.99)
    assert [plan.answering.component for plan in choice.order] == ["small"]
    assert "not local" in (reason(choice, "cloud") or "")


def test_budget_is_a_hard_limit() -> None:
    choice = pick(CLOUD, max_cost_usd=1e-6)
    assert not choice.order
    assert choice.out_of_budget


def test_what_could_never_do_the_task_does_not_hide_that_only_the_budget_is_in_the_way() -> None:
    assert pick(CLOUD, DOCS, EYES, max_cost_usd=1e-6).out_of_budget
    assert not pick(DOCS, EYES, max_cost_usd=1e-6).out_of_budget
    assert not pick(SMALL, CLOUD, max_cost_usd=1e-4).out_of_budget


def test_amounts_in_a_refusal_are_told_apart_however_small() -> None:
    cheap = beat("small", "llm_local", price=Price(0.0, 0.0065))
    told = reason(pick(cheap, max_cost_usd=6e-7), "small")
    assert told == "costs about $0.00000065, over the limit of $0.0000006"
    assert "over the limit of $0" in (reason(pick(CLOUD, max_cost_usd=0.0), "cloud") or "")


def test_busy_instance_loses_to_its_free_twin() -> None:
    busy = beat("small", "llm_local", 1, in_use=4, queued=3)
    free = beat("small", "llm_local", 2)
    assert pick(busy, free).order[0].answering.instance == "small-2"


def test_tasks_sent_since_the_last_beat_count_as_load() -> None:
    one, two = beat("small", "llm_local", 1), beat("small", "llm_local", 2)
    assert pick(one, two, pending={"small-1": 5}).order[0].answering.instance == "small-2"


def test_deadline_that_the_cheap_one_would_miss_goes_to_a_free_one() -> None:
    swamped = beat("small", "llm_local", in_use=4, queued=20, price=Price(0.01, 0.02))
    assert first(pick(swamped, CLOUD, deadline_in_s=3.0)) == ("cloud",)


def test_image_is_read_first_for_a_model_that_cannot_see() -> None:
    needs = Needs(frozenset({"chat"}), images=1)
    choice = pick(SMALL, EYES, needs=needs)
    assert first(choice) == ("eyes", "small")


def test_image_without_a_reader_needs_a_model_that_sees() -> None:
    choice = pick(SMALL, CLOUD, needs=Needs(frozenset({"chat"}), images=1))
    assert [first(choice)] == [("cloud",)]
    assert reason(choice, "small") == "cannot see images"


def test_relevant_documents_put_retrieval_before_the_model() -> None:
    assert first(pick(SMALL, DOCS, relevance=0.95)) == ("docs", "small")
    assert first(pick(SMALL, DOCS, relevance=0.0)) == ("small",)


def test_agent_is_not_chosen_for_the_questions_of_agents() -> None:
    sure = {**ESTIMATES, "tool_agent": Estimate(0.99, 0.01)}
    assert first(pick(SMALL, TOOLS, estimates=sure)) == ("tools",)
    assert first(pick(SMALL, TOOLS, estimates=sure, depth=1)) == ("small",)


LONG = Needs(frozenset({"chat"}), input_tokens=4000)


def test_twin_that_has_read_the_conversation_is_preferred_until_it_has_too_much_to_do() -> None:
    one, two = (beat("small", "llm_local", n, facts={"prefill_tps": 5000.0}) for n in (1, 2))
    held = Held("small", "small-2", 3500)
    assert pick(one, two, needs=LONG, held=held).order[0].answering.instance == "small-2"
    assert pick(one, two, needs=LONG, held=held).order[0].finish_s == pytest.approx(1.0 - 3500 / 5000)
    swamped = beat("small", "llm_local", 2, facts={"prefill_tps": 5000.0}, in_use=4, queued=4)
    assert pick(one, swamped, needs=LONG, held=held).order[0].answering.instance == "small-1"


def test_saving_is_never_the_whole_time() -> None:
    slow = beat("small", "llm_local", facts={"prefill_tps": 1.0})
    assert pick(slow, held=Held("small", "small-1", 10_000)).order[0].finish_s == pytest.approx(0.1)


@pytest.mark.parametrize(("tokens", "goes_to"), [(3500, "cloud"), (1000, "other")])
def test_component_stays_where_the_cached_price_saves_more_than_the_other_is_cheaper(tokens: int, goes_to: str) -> None:
    cloud = beat("cloud", "llm_cloud", price=Price(1.0, 4.0, 0.1))
    other = beat("small", "llm_cloud", price=Price(0.8, 3.2, 0.08))
    choice = pick(cloud, other, needs=LONG, floor=0.5, held=Held("cloud", "cloud-1", tokens))
    assert first(choice) == ({"other": "small"}.get(goes_to, goes_to),)


def test_agent_costs_what_the_model_it_asks_costs() -> None:
    choice = pick(SMALL, CLOUD, TOOLS, floor=0.0)
    assert first(choice) == ("small",)
    cost = {c.steps: c.cost_usd for c in choice.candidates}
    assert cost[("tools",)] == pytest.approx(2 * (1 - 0.02) * cost[("small",)])
    assert {c.steps: c.cost_usd for c in pick(SMALL, TOOLS, pinned="tools").candidates}[("tools",)] > 0


def test_screen_agent_needs_a_screen() -> None:
    screen = beat("screen", "screen_agent", capabilities=("chat", "image"))
    assert reason(pick(SMALL, screen), "screen") == "has no image to look at"
    assert first(pick(screen, needs=Needs(frozenset({"chat"}), images=1))) == ("screen",)


def test_agent_that_needs_no_model_stays_the_cheapest() -> None:
    sure = {**ESTIMATES, "tool_agent": Estimate(0.98, 0.01)}
    assert first(pick(SMALL, CLOUD, TOOLS, estimates=sure, floor=0.0)) == ("tools",)


def test_agent_pays_for_the_model_that_the_floor_demands() -> None:
    asked = {c.steps: c.cost_usd for c in pick(SMALL, CLOUD, TOOLS, floor=0.9).candidates}
    assert asked[("tools",)] == pytest.approx(2 * (1 - 0.02) * asked[("cloud",)])


def test_component_that_only_answers_when_named_is_left_alone_otherwise() -> None:
    assert not pick(DOCS).order
    assert first(pick(DOCS, pinned="docs")) == ("docs",)


def test_pinned_component_is_not_judged_by_the_floor() -> None:
    choice = pick(SMALL, CLOUD, pinned="small", floor=0.99, estimates={})
    assert first(choice) == ("small",)
    assert choice.degraded is None
    assert choice.candidates[0].quality is None


def test_operator_quality_overrides_the_predictor() -> None:
    world = World((SMALL,), {"small": Profile("tiny", 0.1)}, {})
    assert choose(CHAT, Wanted(0.6, None, 60), world, ESTIMATES, 10).degraded is not None


TWINS = [beat("small", "llm_local", n) for n in (1, 2, 3)]


def seat(conversation: str, *beats: Beat) -> str:
    """Which instance a conversation is sent to."""
    return pick(*beats, conversation=conversation).order[0].answering.instance


def test_a_conversation_stays_with_one_of_equal_instances_whichever_router_chooses() -> None:
    names = [str(number) for number in range(300)]
    seats = {name: seat(name, *TWINS) for name in names}
    assert seats == {name: seat(name, *reversed(TWINS)) for name in names}
    assert all(60 < sum(taken == one.instance for taken in seats.values()) < 140 for one in TWINS)
    left = {name: seat(name, *TWINS[:2]) for name in names}
    assert all(left[name] == taken for name, taken in seats.items() if taken != "small-3")


def test_a_conversation_moves_to_who_is_much_faster_or_less_busy() -> None:
    slow, quick = TWINS[0], beat("small", "llm_local", 2, speed=Speed(service_s=0.8))
    busy, free = beat("small", "llm_local", 1, in_use=2), TWINS[1]
    for number in range(20):
        assert seat(str(number), slow, quick) == "small-2"
        assert seat(str(number), busy, free) == "small-2"


def test_who_holds_the_conversation_keeps_it_among_those_as_good() -> None:
    held = Held("small", "small-3", 1)
    for number in range(20):
        busy = beat("small", "llm_local", 3, in_use=1)
        choice = pick(*TWINS[:2], busy, conversation=str(number), held=held)
        assert choice.order[0].answering.instance == "small-3"


def test_excluded_instance_is_not_tried_again() -> None:
    assert first(pick(SMALL, CLOUD, excluded=frozenset({"small-1"}))) == ("cloud",)


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (ChatRequest((Message("user", "x"),), tools=(ToolSpec("f"),)), "tools"),
        (ChatRequest((Message("user", "x"),), response_format=ResponseFormat("json_object")), "json"),
        (ChatRequest((Message("user", "x"),), sampling=Sampling(logprobs=True)), "logprobs"),
    ],
)
def test_request_features_become_capabilities(request_: ChatRequest, wanted: str) -> None:
    assert wanted in needs_of(Task("a", "a", "auto", request_, "", 0)).capabilities


def test_parameter_that_a_component_does_not_honour_rejects_it() -> None:
    request = ChatRequest((Message("user", "x"),), sampling=Sampling(seed=0, logit_bias={1: 2.0}))
    needs = needs_of(Task("a", "a", "auto", request, "", 0, Wishes(privacy="local")))
    assert needs.local_only
    choice = pick(
        SMALL, beat("cloud", "llm_cloud", params=("seed", "logit_bias")), needs=Needs(needs.capabilities, needs.params)
    )
    assert first(choice) == ("cloud",)
    assert reason(choice, "small") == "does not honour logit_bias, seed"


def test_reasoning_effort_goes_to_who_honours_it() -> None:
    request = ChatRequest((Message("user", "x"),), sampling=Sampling(reasoning_effort="none"))
    needs = needs_of(Task("a", "a", "auto", request, "", 0))
    thinker = beat("cloud", "llm_cloud", price=Price(1, 4), params=("reasoning_effort",))
    assert first(pick(SMALL, thinker, needs=needs)) == ("cloud",)


@given(
    qualities=st.lists(st.floats(0, 1), min_size=1, max_size=5),
    prices=st.lists(st.floats(0, 100), min_size=5, max_size=5),
    floor=st.floats(0, 1),
)
def test_no_eligible_plan_is_both_cheaper_and_good_enough(
    qualities: list[float], prices: list[float], floor: float
) -> None:
    beats = [beat(f"c{i}", "llm_local", price=Price(prices[i], prices[i])) for i in range(len(qualities))]
    world = World(beats, {f"c{i}": Profile("x", q) for i, q in enumerate(qualities)}, {})
    choice = choose(CHAT, Wanted(floor, None, 60), world, ESTIMATES, 100.0)
    chosen = choice.order[0]
    assert (choice.degraded is None) == any(q >= floor for q in qualities)
    if choice.degraded is None:
        assert not any(p.cost_usd < chosen.cost_usd and p.quality >= floor for p in choice.order)
    else:
        assert chosen.quality == max(qualities)
    assert sum(c.rejected is None for c in choice.candidates) == 1
