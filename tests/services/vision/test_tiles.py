from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.vision.tiles import TILE_HEIGHT_PX, TILE_WIDTH_PX, Box, cuts, join_pieces, tiles


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=300), st.integers(1, 60))
def test_pieces_cover_the_side_and_none_is_too_long(ink: list[int], most: int) -> None:
    edges = [0, *cuts(ink, most), len(ink)]
    lengths = [b - a for a, b in pairwise(edges)]
    assert all(0 < length <= most for length in lengths)
    assert len(lengths) == -(-len(ink) // most)


def test_a_cut_goes_where_nothing_is_drawn() -> None:
    ink = [5] * 100
    ink[53] = 0
    assert cuts(ink, 60) == [53]


def test_a_common_screen_is_one_tile() -> None:
    assert tiles(np.zeros((768, 1366), dtype=np.bool_)) == [Box(0, 0, 1366, 768)]


def test_tiles_of_a_large_screen_cover_it_without_overlap() -> None:
    ink = np.random.default_rng(1).random((1500, 2600)) < 0.1
    places = tiles(ink)
    covered = np.zeros(ink.shape, dtype=np.int8)
    for place in places:
        assert place.right - place.left <= TILE_WIDTH_PX
        assert place.bottom - place.top <= TILE_HEIGHT_PX
        covered[int(place.top) : int(place.bottom), int(place.left) : int(place.right)] += 1
    assert (covered == 1).all()


LEFT, RIGHT = Box(0, 0, 100, 100), Box(100, 0, 200, 100)
UPPER, LOWER = LEFT, Box(0, 100, 100, 200)


def joined(one: Box, other: Box, places: list[Box], *, ink: bool = True) -> bool:
    return len(join_pieces([(other, 1), (one, 0)], places, lambda *_: ink)) == 1


def test_a_line_cut_from_top_to_bottom_is_put_together() -> None:
    assert joined(Box(20, 40, 99, 60), Box(100, 41, 150, 60), [LEFT, RIGHT])


def test_lines_on_different_levels_or_far_apart_stay_apart() -> None:
    assert not joined(Box(20, 40, 99, 60), Box(100, 60, 150, 80), [LEFT, RIGHT])
    assert not joined(Box(20, 40, 95, 60), Box(108, 40, 150, 60), [LEFT, RIGHT])
    assert not joined(Box(20, 40, 60, 60), Box(100, 40, 150, 60), [LEFT, RIGHT])


def test_a_line_cut_along_its_middle_is_put_together_but_neighbours_are_not() -> None:
    above, below = Box(10, 88, 90, 100), Box(10, 100, 90, 110)
    assert joined(above, below, [UPPER, LOWER], ink=True)
    assert not joined(above, below, [UPPER, LOWER], ink=False)


def test_a_line_in_three_pieces_is_one_line() -> None:
    places = [Box(0, 0, 100, 50), Box(100, 0, 200, 50), Box(200, 0, 300, 50)]
    pieces = [(Box(200, 10, 250, 30), 2), (Box(50, 10, 100, 30), 0), (Box(100, 10, 200, 30), 1)]
    assert join_pieces(pieces, places, lambda *_: True) == [[0, 1, 2]]
