from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import UpstreamError
from services.llm_cloud.sse import SseEvent, SseParser

STREAM = (
    b": hello\n\ndata: one\n\nevent: two\r\ndata: a\r\ndata:b\r\nid: 7\r\n\r\n"
    b"data\n\nretry: 5\n\nevent: x\n\ndata: [DONE]\n\n"
)
EVENTS = [SseEvent("", b"one"), SseEvent("two", b"a\nb"), SseEvent("", b""), SseEvent("", b"[DONE]")]


def test_events_are_read_as_the_standard_says() -> None:
    assert SseParser().feed(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_where_the_bytes_are_cut_makes_no_difference(cuts: list[int]) -> None:
    parser = SseParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [e for start, end in itertools.pairwise(edges) for e in parser.feed(STREAM[start:end])]
    assert found == EVENTS


def test_an_event_without_its_blank_line_is_not_delivered() -> None:
    parser = SseParser()
    assert parser.feed(b"data: half\n") == []
    assert parser.feed(b"\n") == [SseEvent("", b"half")]


@pytest.mark.parametrize("piece", [b"data: aaaaaaaaaa", b"data: a\n" * 3, b": comment without end"])
def test_what_is_held_is_bounded(piece: bytes) -> None:
    parser = SseParser(max_event_bytes=64)
    with pytest.raises(UpstreamError, match="larger than 64"):
        for _ in range(100):
            parser.feed(piece)


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(noise: bytes) -> None:
    SseParser().feed(noise + b"\n\n" + STREAM)
