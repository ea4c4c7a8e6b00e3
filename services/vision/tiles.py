"""Cuts a large screen into tiles, and puts together the boxes that a cut went through. Pure geometry.

The detector judges a spot by the whole image it is shown: two lone lines of 14 px letters are found on 1280x720 pixels
and overlooked on 1920x1080. So it never sees more than a tile. A cut goes where there is least ink; a line that is cut
all the same is found in two pieces that face each other across the cut, and they are joined before the line is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WHOLE_PIXELS = 1_100_000  # an image of no more is one tile
TILE_WIDTH_PX = 1366
TILE_HEIGHT_PX = 768
TOUCH_PX = 12  # how far from a cut a piece may end
LEVEL_SHARE = 0.6  # of the smaller of two pieces: how much they must overlap along the cut
WORD_GAP = 0.3  # of a line's height: boxes of one line stand no farther apart


@dataclass(frozen=True)
class Box:
    """An upright rectangle, in pixels. `right` and `bottom` are the first pixels outside."""

    left: float
    top: float
    right: float
    bottom: float

    def joined(self, other: Box) -> Box:
        """The least box around both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


Inked = Callable[[float, float, float], bool]
"""Whether there is ink in pixel row `y` between two columns: `inked(y, left, right)`."""


def tiles(ink: NDArray[np.bool_]) -> list[Box]:
    """The tiles of an image, given where it has ink: strips side by side, each cut across on its own."""
    height, width = ink.shape
    if height * width <= WHOLE_PIXELS:
        return [Box(0, 0, width, height)]
    found: list[Box] = []
    for left, right in _pieces(ink.sum(axis=0).tolist(), TILE_WIDTH_PX):
        rows = ink[:, left:right].sum(axis=1).tolist()
        found.extend(Box(left, top, right, bottom) for top, bottom in _pieces(rows, TILE_HEIGHT_PX))
    return found


def cuts(ink: Sequence[float], most: int) -> list[int]:
    """Where to cut a side into the fewest pieces of at most `most` pixels: near even, where there is least ink.

    Args:
        ink: how much is drawn at each pixel of the side.
        most: longest piece, in pixels.
    """
    length = len(ink)
    count = math.ceil(length / most)
    found: list[int] = []
    before = 0
    for number in range(1, count):
        even = round(length * number / count)
        reach = length // count // 6
        low = max(even - reach, length - (count - number) * most, before + 1)  # what is left must still fit
        high = max(low, min(even + reach, before + most))
        before = min(range(low, high + 1), key=lambda at: (ink[at], abs(at - even), at))
        found.append(before)
    return found


def join_pieces(pieces: Sequence[tuple[Box, int]], places: Sequence[Box], inked: Inked) -> list[list[int]]:
    """Which pieces are one line: groups of indices into `pieces`, in the order of their first member.

    Args:
        pieces: boxes in pixels of the whole image, each with the index of its tile.
        places: the tiles.
        inked: tells a cut through letters from one that runs between two lines.
    """
    group = list(range(len(pieces)))
    for one, (box, tile) in enumerate(pieces):
        for other, (their_box, their_tile) in enumerate(pieces):
            if tile == their_tile:
                continue
            beside = places[tile].right == places[their_tile].left and _beside(box, their_box, places[tile].right)
            above = places[tile].bottom == places[their_tile].top and _above(box, their_box, places[tile].bottom, inked)
            if beside or above:
                old, new = group[other], group[one]
                group = [new if member == old else member for member in group]
    return [[i for i, member in enumerate(group) if member == name] for name in dict.fromkeys(group)]


def _pieces(ink: Sequence[float], most: int) -> list[tuple[int, int]]:
    edges = [0, *cuts(ink, most), len(ink)]
    return list(pairwise(edges))


def _beside(left: Box, right: Box, cut: float) -> bool:
    if cut - left.right > TOUCH_PX or right.left - cut > TOUCH_PX:
        return False
    overlap = min(left.bottom, right.bottom) - max(left.top, right.top)
    height = min(left.bottom - left.top, right.bottom - right.top)
    return overlap >= LEVEL_SHARE * height and right.left - left.right <= WORD_GAP * height


def _above(upper: Box, lower: Box, cut: float, inked: Inked) -> bool:
    if cut - upper.bottom > TOUCH_PX or lower.top - cut > TOUCH_PX:
        return False
    start, end = max(upper.left, lower.left), min(upper.right, lower.right)
    width = min(upper.right - upper.left, lower.right - lower.left)
    return end - start >= LEVEL_SHARE * width and inked(cut, start, end)
