"""The shipped predictor loads, is fast and tells the kinds of work apart; a bad file is refused by name."""

from __future__ import annotations

import io
import statistics
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from router.features import Features, features_of
from router.predictor import SHIPPED, Predictor
from router.verify import MEASURED, Verifier
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.errors import ConfigError
from services.contracts.messages import ChatRequest, Message
from services.contracts.predictor_file import FORMAT, PROFILES, SCALARS, Meta
from tests.router.test_graph import model, question, system

BUCKETS, HEADS = 64, (*PROFILES, "tokens")


@pytest.fixture(scope="module")
def shipped() -> Predictor:
    return Predictor.load(None)


def asked(prompt: str, system: str = "") -> Features:
    turns = (Message("system", system), Message("user", prompt)) if system else (Message("user", prompt),)
    return features_of(ChatRequest(messages=turns))


def test_every_profile_is_estimated_and_every_number_is_a_probability(shipped: Predictor) -> None:
    estimates = shipped.predict(asked("Explain how a heat pump works."))
    assert tuple(estimates) == PROFILES
    for estimate in estimates.values():
        assert 0 <= estimate.quality <= 1
        assert 0 < estimate.sd <= 0.5


def test_the_same_request_is_estimated_the_same(shipped: Predictor) -> None:
    prompt = "Name three rivers."
    assert shipped.predict(asked(prompt)) == Predictor.load(None).predict(asked(prompt))


def test_the_version_names_the_weights(shipped: Predictor) -> None:
    month, _, digest = shipped.version.rpartition("-")
    assert month == shipped.meta.trained
    assert len(digest) == 8


def test_the_file_is_small_and_says_where_it_comes_from(shipped: Predictor) -> None:
    assert SHIPPED.stat().st_size <= 1_500_000
    assert shipped.meta.sources


@pytest.mark.parametrize(
    "question", ["What is 23.7 * 19 + 4?", "what is 15% of 80", "What day of the week was 3 May 1999?"]
)
def test_a_computation_is_for_the_tool_agent(shipped: Predictor, question: str) -> None:
    estimates = shipped.predict(asked(question))
    assert estimates["tool_agent"].quality > 0.9
    assert estimates["tiny"].quality < 0.5


@pytest.mark.parametrize(
    "question",
    [
        "Classify the sentiment of this review as positive or negative: 'I loved this film'",
        "Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?",
        "Write a function that adds two numbers.",
    ],
)
def test_what_is_more_than_a_computation_is_not_for_the_tool_agent(shipped: Predictor, question: str) -> None:
    assert shipped.predict(asked(question))["tool_agent"].quality < 0.05


@pytest.mark.parametrize(
    "question",
    [
        "Classify the sentiment as positive or negative: 'I loved this film.'",
        "Classify the sentiment of this review as positive or negative: 'I loved every minute of it.'",
        "Classify the sentiment as positive or negative. Answer with one word.\n\nThe acting was superb",
        "Classify the sentiment of: 'I loved every minute of it.'",
        'Classify the sentiment of: "The soup was cold and the waiter was rude."',
        "Hello, how are you?",
        "Use the word garden in a sentence.",
    ],
)
def test_what_the_tiny_model_was_seen_to_do_is_for_it(shipped: Predictor, question: str) -> None:
    assert shipped.predict(asked(question))["tiny"].quality >= 0.6


@pytest.mark.parametrize(
    "question",
    [
        "Classify the sentiment of: The room was filthy and cold",
        "Is the tone of 'we will see you in court' threatening? Explain.",
        "Erkläre mir bitte den Unterschied zwischen Miete und Pacht.",
        "Plan a three-day trip to Lisbon for a family with two small kids, with a budget of 600 euros.",
        "All bloops are razzies. All razzies are lazzies. Are all bloops lazzies?",
        "Refactor this class so that it no longer depends on the database driver.",
        "Write a haiku whose first letters spell NATS, then explain its metre.",
        "Compare the causes of the French and the Russian revolution.",
        "My contract says 30 days' notice; today is the 12th. Until when must I pay rent, and why?",
    ],
)
def test_what_it_was_not_seen_to_do_is_not_for_the_tiny_model(shipped: Predictor, question: str) -> None:
    assert shipped.predict(asked(question))["tiny"].quality < 0.6


STORIES = (
    (
        "A shop sells pens at $3 each. On Monday it sells 14, on Tuesday three times as many as on Monday, and on "
        "Wednesday 6 fewer than on Tuesday. How much money does it take over the three days?"
    ),
    (
        "Every day, Wendi feeds each of her chickens three cups of feed in three meals. She gives 15 cups in the "
        "morning and 25 in the afternoon. How many cups does she need in the final meal if she has 20 chickens?"
    ),
    "Tom has 24 marbles. Lea has twice as many and gives half of them to Kim, who buys 5 more. How many has Kim now?",
)


@pytest.mark.parametrize("story", STORIES)
def test_a_word_problem_is_for_a_large_model_and_not_for_a_tiny_one(shipped: Predictor, story: str) -> None:
    estimates = shipped.predict(asked(story))
    assert estimates["tiny"].quality < 0.3
    assert estimates["large"].quality > 0.8


def test_longer_answers_are_expected_where_more_is_asked_for(shipped: Predictor) -> None:
    short = shipped.expected_output_tokens(asked("What is the capital of France?"))
    long = shipped.expected_output_tokens(asked(STORIES[0]))
    assert 1 <= short < long


@pytest.mark.parametrize("text", ["", "\ud800", "\x00" * 50, "日本語の質問です", "a" * 20_000, "?" * 5000])
def test_any_text_is_estimated(shipped: Predictor, text: str) -> None:
    estimates = shipped.predict(asked(text))
    assert all(np.isfinite((e.quality, e.sd)).all() for e in estimates.values())
    assert np.isfinite(shipped.expected_output_tokens(asked(text)))


def test_estimates_come_within_the_budget(shipped: Predictor) -> None:
    # The budgets are 1 and 2 ms on an idle core. The fastest runs are taken, because the cores here are shared.
    for chars, budget_ms in ((500, 1.0), (20_000, 2.0)):
        taken = []
        for run in range(60):
            features = asked((STORIES[0] + f" {run} ") * 200)
            features = asked(((STORIES[0] + f" {run} ") * 200)[:chars])
            began = time.perf_counter()
            shipped.predict(features)
            taken.append((time.perf_counter() - began) * 1000)
        assert statistics.quantiles(taken, n=10)[0] <= budget_ms


def stored(**changes: Any) -> bytes:
    """A valid small file, with some arrays or fields of its meta replaced (None: left out)."""
    heads = len(HEADS)
    fields: dict[str, Any] = {"format": FORMAT, "trained": "2026-11", "buckets": BUCKETS, "heads": HEADS}
    fields["verifiers"] = {}
    fields |= {name: changes.pop(name) for name in list(changes) if name in fields}
    arrays: dict[str, Any] = {
        "meta": np.frombuffer(msgspec.json.encode(Meta(**fields)), np.uint8),
        "weights": np.zeros((BUCKETS, heads), np.float16),
        "scalar_weights": np.zeros((SCALARS, heads), np.float32),
        "familiar": np.zeros((BUCKETS // 2, heads), np.uint8),
        "idf": np.ones(BUCKETS, np.float16),
        "calibration": np.outer([1.0, 2.0, 1.0, 0.0, 0.1, 0.2], np.ones(heads)),
        "tokens_smear": np.ones(1, np.float32),
    }
    arrays |= changes
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def test_words_it_was_measured_on_make_an_estimate_surer(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(stored(familiar=np.ones((BUCKETS // 2, len(HEADS)), np.uint8)))
    estimate = Predictor.load(path).predict(asked("anything"))["tiny"]
    assert (estimate.quality, estimate.sd) == pytest.approx((1 / (1 + np.exp(-2)), 0.1))


def test_a_file_of_ones_own_is_used(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(stored())
    predictor = Predictor.load(path)
    estimate = predictor.predict(asked("anything"))["tiny"]
    assert (estimate.quality, estimate.sd) == pytest.approx((0.5, 0.2))
    assert predictor.version != Predictor.load(None).version


NOT_FINITE = np.full((BUCKETS,), np.nan, np.float16)
BAD = {
    "empty": b"",
    "not a zip": b"\x93NUMPY nonsense",
    "cut off": stored()[:-400],
    "an array missing": stored(familiar=None),
    "a wrong shape": stored(weights=np.zeros((BUCKETS, 3), np.int8)),
    "not finite": stored(idf=NOT_FINITE),
    "text for numbers": stored(tokens_smear=np.array(["x"])),
    "pickled objects": stored(tokens_smear=np.array([object()], dtype=object)),
    "another format": stored(format=FORMAT + 1),
    "other profiles": stored(heads=("tiny", "tokens")),
    "a billion buckets": stored(buckets=10**9),
    "no meta": stored(meta=np.frombuffer(b"{", np.uint8)),
    "a bomb": stored(weights=np.zeros(64 * 1024 * 1024, np.int8)),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_predictor_is_refused_with_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(BAD[kind])
    with pytest.raises(ConfigError, match=r"bad\.npz"):
        Predictor.load(path)


def test_a_verifier_in_the_file_is_used_beside_those_that_are_known(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(stored(verifiers={"medium": (1.5, -1.0, 1.0, 0.5)}))
    found = Predictor.load(path).verifiers
    assert found.keys() == {*MEASURED, "medium"}
    assert found["medium"] == Verifier(1.5, (-1.0, 1.0, 0.5))
    path.write_bytes(stored(verifiers={"medium": (1.5, 1.0)}))
    with pytest.raises(ConfigError, match="a verifier of another form"):
        Predictor.load(path)


async def test_another_predictor_is_taken_up_while_the_router_runs_and_a_bad_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(stored())
    (tmp_path / "bad.npz").write_bytes(BAD["cut off"])
    small = {"small": {"kind": "llm_cloud", "model": "s", "tier": "tiny"}}

    def revision(number: int, predictor: str | None) -> Snapshot:
        catalog = Catalog.model_validate({"router": {"predictor": predictor}, "components": small})
        return Snapshot(revision=number, base_dir=str(tmp_path), catalog=catalog)

    async def asked_of(name: str | None) -> tuple[str, float | None]:
        await it.router.use(revision(8, name))
        _, decision = await it.ask(question("What is the capital of France?"))
        return decision.prediction, decision.prior_quality

    async with system(revision(7, None), small=model()) as it:
        shipped_version = Predictor.load(None).version
        assert (await asked_of(None))[0] == shipped_version
        mine = await asked_of("mine.npz")
        assert mine == (Predictor.load(tmp_path / "mine.npz").version, 0.5)
        assert await asked_of("bad.npz") == mine
        assert await asked_of("nowhere.npz") == mine
        assert (await asked_of(None))[0] == shipped_version


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.npz"):
        Predictor.load(tmp_path / "nowhere.npz")
    large = tmp_path / "large.npz"
    with large.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    with pytest.raises(ConfigError, match="at most"):
        Predictor.load(large)
