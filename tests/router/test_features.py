"""The predictor's view of a request: bounded, deterministic, and made of what gives the last turn its meaning."""

from __future__ import annotations

import numpy as np
import pytest

from router.features import HEAD_CHARS, TAIL_CHARS, Features, features_of
from router.vectoriser import grams, scalars
from services.contracts.messages import (
    Blob,
    ChatRequest,
    Image,
    ImagePart,
    Message,
    ResponseFormat,
    TextPart,
    ToolSpec,
)
from services.contracts.predictor_file import SCALARS


def ask(*turns: tuple[str, str], **options: object) -> Features:
    return features_of(ChatRequest(messages=tuple(Message(role, text) for role, text in turns), **options))  # type: ignore[arg-type]  # roles and options are literals in the tests


def test_the_last_user_turn_is_the_text() -> None:
    features = ask(("user", "  What is the capital of France? "))
    assert features == Features("What is the capital of France?", 1, 33, False, False, False, 0)


def test_the_system_prompt_is_part_of_the_text_because_it_may_hold_the_task() -> None:
    features = ask(("system", "Classify the sentiment."), ("user", "I loved it"))
    assert features.text == "Classify the sentiment.\n\nI loved it"
    assert features.system_chars == len("Classify the sentiment.")


def test_a_short_follow_up_brings_the_turn_it_refers_to() -> None:
    turns = (("user", "Translate 'house' to Spanish"), ("assistant", "casa"), ("user", "and to French?"))
    assert ask(*turns).text == "Translate 'house' to Spanish\n\nand to French?"
    assert ask(*turns).turns == 2


def test_a_long_follow_up_stands_for_itself() -> None:
    question = (
        "Write a Python function that merges two sorted lists and explain how long it takes for lists of length n"
    )
    assert ask(("user", "hi"), ("assistant", "hello"), ("user", question)).text == question


def test_a_long_prompt_keeps_its_head_and_its_tail() -> None:
    features = ask(("user", "BEGIN " + "x" * 1_000_000 + " END"))
    assert features.text.startswith("BEGIN")
    assert features.text.endswith("END")
    assert len(features.text) <= HEAD_CHARS + TAIL_CHARS + 2
    assert features.prompt_chars == 1_000_010


def test_flags_say_what_else_is_asked() -> None:
    image = Image(Blob("0" * 64, 3, b"abc"), "image/png", 1, 1)
    request = ChatRequest(
        messages=(Message("user", (TextPart("What is this?"), ImagePart(image))),),
        tools=(ToolSpec("lookup"),),
        response_format=ResponseFormat("json_object"),
    )
    features = features_of(request)
    assert (features.has_images, features.has_tools, features.wants_json) == (True, True, True)
    assert features.text == "What is this?"


def test_tools_that_must_not_be_called_are_no_tools() -> None:
    assert not ask(("user", "hi"), tools=(ToolSpec("lookup"),), tool_choice="none").has_tools


@pytest.mark.parametrize("turns", [(), (("system", "Be brief."),), (("assistant", "hello"),), (("user", ""),)])
def test_a_conversation_without_a_question_has_features_too(turns: tuple[tuple[str, str], ...]) -> None:
    features = ask(*turns)
    assert np.isfinite(scalars(features)).all()


@pytest.mark.parametrize(
    "text", ["", " ", "a", "\ud800 lone", "\x00\x01", "日本語の質問", "🙂" * 500, "1" * 1800, "\n" * 1800]
)
def test_any_text_becomes_finite_numbers_within_the_buckets(text: str) -> None:
    at, tf, words = grams(text, 1024)
    assert len(at) == len(tf)
    assert all(0 <= bucket < 512 for bucket in at[:words])
    assert all(512 <= bucket < 1024 for bucket in at[words:])
    assert len(set(at.tolist())) == len(at)
    assert np.isfinite(tf).all()
    values = scalars(Features(text, 1, len(text), False, False, False, 0))
    assert values.shape == (SCALARS,)
    assert np.isfinite(values).all()


def test_hashes_are_the_same_on_every_machine() -> None:
    # The weights that are shipped mean these buckets. If this fails, the vectoriser changed: train again.
    at, _, words = grams("What is 7 + 5?", 1 << 14)
    assert (int(at[:words].sum()), int(at[words:].sum())) == (50947, 321254)


def test_digits_are_read_as_one() -> None:
    for first, second in zip(grams("add 12 and 345", 1024), grams("add 98 and 761", 1024), strict=True):
        np.testing.assert_array_equal(first, second)
