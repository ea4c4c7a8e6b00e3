"""A cheaper component tries first, on real parts: a GGUF model, weights fitted on its answers, and a dearer peer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from router.graph import TRIED_FIRST
from tests.support.running import SMALL, Running, running
from tests.support.upstream import Upstream

pytestmark = pytest.mark.system

CERTAIN, TORN = ("Repeat exactly: yes yes yes yes", 4), ("Say hello.", 4)
"""What the small model is certain of, and what it might begin otherwise, at temperature 0."""
JUST_ABOVE = 0.003


@pytest.fixture(scope="module")
def cascading(upstream: Upstream) -> Iterator[Running]:
    large = {
        "kind": "llm_cloud",
        "base_url": upstream.base_url,
        "model": "mock-large",
        "price": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 4.0},
    }
    with running({"version": 1, "router": {"cascade": "auto"}, "components": {"small": SMALL, "cloud": large}}) as it:
        yield it


@dataclass
class Streamed:
    """What a client saw of a streamed answer, and the record of it."""

    texts: list[str]
    cost_usd: float
    decision: dict[str, Any]

    @property
    def first_seen_s(self) -> float:
        """When its first byte left, seconds since the epoch."""
        return float(self.decision["created_s"]) + float(self.decision["first_token_ms"]) / 1000


def asked(system: Running, prompt: tuple[str, int], **wishes: float) -> Streamed:
    text, tokens = prompt
    chunks = list(
        system.client().chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": text}],
            max_tokens=tokens,
            temperature=0,
            stream=True,
            extra_body={"turnout": wishes},
        )
    )
    told = (chunks[-1].model_extra or {})["turnout"]
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    return Streamed([piece for piece in texts if piece], told["cost_usd"], system.decision(told["decision_id"]))


def floor_just_above(system: Running, prompt: tuple[str, int]) -> float:
    """A floor that the small model is just not expected to reach: there an attempt pays."""
    candidates = asked(system, prompt).decision["candidates"]
    return float(next(c["quality"] for c in candidates if c["steps"] == ["small"])) + JUST_ABOVE


def test_an_answer_the_model_was_certain_of_is_given_and_the_dearer_one_is_not_asked(
    cascading: Running, upstream: Upstream
) -> None:
    floor = floor_just_above(cascading, CERTAIN)
    upstream.requests.clear()
    seen = asked(cascading, CERTAIN, quality=floor)

    (attempt,) = seen.decision["attempts"]
    assert (seen.decision["component"], attempt["component"]) == ("small", "small")
    assert attempt["verified"] >= floor
    assert "yes" in "".join(seen.texts).lower()
    assert not upstream.requests
    assert seen.first_seen_s >= attempt["ended_s"] - 0.05  # two clocks of one machine
    rejected = {tuple(c["steps"]): c.get("rejected") for c in seen.decision["candidates"]}
    assert rejected == {("small",): None, ("cloud",): TRIED_FIRST}
    assert 0 < seen.cost_usd == seen.decision["usage"]["cost_usd"] < 1e-6


def test_an_answer_it_was_not_is_paid_for_and_never_seen(cascading: Running, upstream: Upstream) -> None:
    floor = floor_just_above(cascading, TORN)
    upstream.requests.clear()
    seen = asked(cascading, TORN, quality=floor)

    attempt, answer = seen.decision["attempts"]
    assert [attempt["component"], answer["component"]] == ["small", "cloud"]
    assert attempt["rejected"] == "below the floor"
    assert attempt["verified"] < floor
    assert len(upstream.requests) == 1
    assert str(upstream.answer).startswith("".join(seen.texts).strip())
    assert seen.first_seen_s >= attempt["ended_s"] - 0.05
    assert attempt["usage"]["output_tokens"] > 0
    assert attempt["usage"]["cost_usd"] > 0
    of_answer = seen.decision["usage"]["cost_usd"] - attempt["usage"]["cost_usd"]
    assert of_answer > attempt["usage"]["cost_usd"]
    assert seen.cost_usd == seen.decision["usage"]["cost_usd"]


def test_who_names_no_quality_waits_for_no_attempt(cascading: Running) -> None:
    for prompt in (CERTAIN, TORN):
        assert len(asked(cascading, prompt).decision["attempts"]) == 1
