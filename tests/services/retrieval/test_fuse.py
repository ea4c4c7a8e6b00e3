from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.events import Passage
from services.retrieval.answer import chosen, nothing, quoted, until
from services.retrieval.fuse import fuse
from services.retrieval.relevance import coverage, logistic


def test_item_in_both_rankings_beats_the_first_of_either() -> None:
    assert next(item for item, _ in fuse([[1, 2, 3], [4, 2, 5]])) == 2
    assert dict(fuse([[1, 2], [2]]))[2] == pytest.approx(1 / 62 + 1 / 61)


def test_item_named_twice_in_a_ranking_counts_once() -> None:
    assert fuse([[7, 7, 7]]) == [(7, 1 / 61)]


@given(st.lists(st.lists(st.integers(0, 20), max_size=20), max_size=3))
def test_fused_ranking_holds_every_item_once_best_first(rankings: list[list[int]]) -> None:
    fused = fuse(rankings)
    assert {item for item, _ in fused} == {item for ranking in rankings for item in ranking}
    assert len(fused) == len({item for item, _ in fused})
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


def test_codes_weigh_more_than_words() -> None:
    assert coverage(["error", "e4"], ["e4", "group"]) > 0.5 > coverage(["error", "e4"], ["error", "group"])
    assert coverage([], ["word"]) == 0.0


def test_logistic_takes_any_number() -> None:
    assert logistic(-1e6) == 0.0
    assert logistic(1e6) == 1.0
    assert logistic(0) == 0.5


def test_only_what_bears_on_the_question_is_quoted() -> None:
    passages = [Passage("a", "s1", 3.0, relevance=0.55), Passage("b", "s2", 2.0, relevance=0.95, page=3)]
    passages += [Passage("c", "s3", 1.0, relevance=0.2), Passage("d", "s4", 0.5, relevance=0.9)]
    assert [passage.text for passage in chosen(passages)] == ["b", "d"]
    assert quoted(1, passages[1]) == "b\n[1] s2, page 3"
    assert chosen([passages[2]]) == ()


def test_silence_says_why() -> None:
    assert "no documents" in nothing(0)
    assert "found nothing" in nothing(1)


def test_stop_sequences_end_the_text() -> None:
    assert until("one two three", ("three", "two")) == "one "
    assert until("one", ()) == "one"
