from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.events import TokenLogprob
from services.llm_local.text import TextStream


def test_unfinished_character_is_held_back() -> None:
    stream = TextStream()
    euro = "€".encode()
    assert stream.push(b"5 " + euro[:1]) == "5 "
    assert stream.push(euro[1:2]) == ""
    assert stream.push(euro[2:]) == "€"


def test_bytes_that_never_become_a_character_are_replaced_at_the_end() -> None:
    stream = TextStream()
    assert stream.push(b"a\xe2\x82") == "a"
    assert stream.finish() == "\ufffd"


def test_stop_string_that_spans_tokens_is_never_seen() -> None:
    stream = TextStream(["STOP"])
    out = [stream.push(piece) for piece in (b"one S", b"T", b"OP two")]
    assert "".join(out) == "one "
    assert stream.stopped
    assert stream.finish() == ""


def test_beginning_of_a_stop_string_is_released_when_it_comes_to_nothing() -> None:
    stream = TextStream(["STOP"])
    assert stream.push(b"S") == ""
    assert stream.push(b"TAR") == "STAR"


def test_earliest_of_several_stop_strings_wins() -> None:
    stream = TextStream(["later", "soon"])
    assert stream.push(b"a soon later") == "a "


def test_logprobs_of_cut_tokens_are_cut_too() -> None:
    stream = TextStream(["END"])
    stream.push(b"keep ", TokenLogprob("keep ", -1.0))
    stream.push(b"E", TokenLogprob("E", -2.0))
    stream.push(b"ND", TokenLogprob("ND", -3.0))
    assert [mark.token for mark in stream.take_logprobs()] == ["keep "]


@given(text=st.text(alphabet="abSTOP€ ", max_size=60), cuts=st.lists(st.integers(0, 120), max_size=12))
def test_any_cut_of_a_text_gives_the_same_answer(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    stream = TextStream(["STOP", "ba"])
    out = "".join(stream.push(data[a:b]) for a, b in pairwise(edges)) + stream.finish()
    ends = [at for stop in ("STOP", "ba") if (at := text.find(stop)) >= 0]
    assert out == (text[: min(ends)] if ends else text)
