"""Busy sequences become neighbours where that pays, and no text worth keeping is lost by it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.llm_local.compaction import Move, compaction
from services.llm_local.scheduler import LONG_TOKENS, Lane

CELLS = 2048  # a copy costs as much as 8 tokens


def lanes(picture: str) -> list[Lane]:
    """`x` is busy, `.` empty, `s` holds a short text, `L` a long one."""
    held = {"x": 40, ".": 0, "s": 30, "L": LONG_TOKENS}
    return [Lane(at, [at] * held[mark], busy=mark == "x", used_at=at) for at, mark in enumerate(picture)]


def after(before: list[Lane], moves: list[Move]) -> str:
    """The picture once the moves are made."""
    marks = {lane.index: (lane.tokens, lane.busy) for lane in before}
    for move in moves:
        marks[move.target] = marks[move.source]
        marks[move.source] = ([], False)
    return "".join(
        "x" if busy else "L" if len(tokens) >= LONG_TOKENS else "s" if tokens else "."
        for tokens, busy in (marks[index] for index in sorted(marks))
    )


def test_neighbours_stay_where_they_are() -> None:
    assert compaction(lanes("..xxx.s"), 64, CELLS) == []


def test_the_one_that_stands_apart_comes_to_the_others() -> None:
    assert compaction(lanes("xxx..x."), 64, CELLS) == [Move(5, 3)]


def test_many_holes_are_filled_with_as_few_moves_as_possible() -> None:
    before = lanes("x.xx.xx.x.")
    moves = compaction(before, 64, CELLS)
    assert len(moves) == 2
    assert "xxxxxx" in after(before, moves)


def test_answers_that_soon_end_are_left_alone() -> None:
    assert compaction(lanes("xxx..x."), 15, CELLS) == []
    assert compaction(lanes("xxx..x."), 16, CELLS) != []


def test_a_long_text_in_between_gets_another_place() -> None:
    before = lanes("xLxs.")
    moves = compaction(before, 64, CELLS)
    picture = after(before, moves)
    assert picture.count("L") == 1
    assert "xx" in picture


def test_a_long_text_is_not_given_up() -> None:
    assert compaction(lanes("xLxLL"), 64, CELLS) == []


@given(
    st.lists(st.sampled_from("x.sL"), min_size=1, max_size=24), st.integers(0, 600), st.sampled_from((256, 2048, 32768))
)
def test_nothing_busy_or_long_is_ever_lost(marks: list[str], steps: int, cells: int) -> None:
    before = lanes("".join(marks))
    moves = compaction(before, steps, cells)
    picture = after(before, moves)
    assert picture.count("x") == marks.count("x")
    assert picture.count("L") == marks.count("L")
    if moves:
        assert "x" * marks.count("x") in picture
