"""Reading order: from boxes anywhere on a screen to the order in which a person reads them. Pure geometry.

Boxes become rows; runs of rows that a strip of white space goes through become blocks; a block is read column by column
if what stands on the two sides of the strip is independent: prose, or lines that do not line up. Everything else is
read row by row, so that the cells of a table and the label and value of a form stay together.

Source: G. Nagy, S. Seth, "Hierarchical representation of optically scanned documents", ICPR 1984 (recursive X-Y cut);
J. Ha, R. Haralick, I. Phillips, "Recursive X-Y cut using bounding boxes of connected components", ICDAR 1995. The test
for independence is ours: an X-Y cut alone cannot tell a page in two columns from a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from services.contracts.events import ScreenLine

ROW_TOLERANCE = 0.5  # of the lower of two boxes: how far apart their middles may be in one row
BLOCK_GAP = 2.5  # line heights of white space that end a block
COLUMN_GAP = 0.8  # line heights of white space between two columns
COLUMN_LINES = 3  # fewer lines are no column
PROSE_ASPECT = 6.0  # a line of prose is at least this many times as long as it is high
PROSE_FILL = 0.6  # and fills this much of its column
ALIGN_TOLERANCE = 0.25  # of a line's height: cells of one table row stand this level
ALIGN_SHARE = 0.6  # of the lines of the shorter column: with fewer aligned, the two are no table

Row = list[ScreenLine]
Gap = tuple[float, float]
_EVERYWHERE: Gap = (float("-inf"), float("inf"))


def reading_order(lines: Iterable[ScreenLine]) -> tuple[ScreenLine, ...]:
    """The same lines, each exactly once, in reading order. The order given does not matter."""
    ordered: list[ScreenLine] = []
    for block in blocks(rows(lines)):
        parts = split(block)
        if len(parts) == 1:
            ordered.extend(line for row in block for line in row)
        else:
            for part in parts:
                ordered.extend(reading_order(part))
    return tuple(ordered)


def rows(lines: Iterable[ScreenLine]) -> list[Row]:
    """Lines that stand side by side, top to bottom; within a row left to right."""
    found: list[Row] = []
    middle = lowest = 0.0
    for line in sorted(lines, key=lambda one: (_middle(one), _across(one))):
        lowest = min(lowest, line.h)
        if found and _middle(line) - middle <= ROW_TOLERANCE * lowest:
            found[-1].append(line)
            middle += (_middle(line) - middle) / len(found[-1])
        else:
            found.append([line])
            middle, lowest = _middle(line), line.h
    return [sorted(row, key=_across) for row in found]


def blocks(page: Sequence[Row]) -> list[list[Row]]:
    """Runs of rows that lie close together and share a strip of white space. A row that shares none stands alone."""
    found: list[list[Row]] = []
    if not page:
        return found
    least = COLUMN_GAP * _typical_height(page)
    gaps: list[Gap] = []
    bottom = 0
    for row in page:
        shared = _narrowed(gaps, row, least)
        near = min(line.y for line in row) - bottom <= BLOCK_GAP * _typical_height(page)
        if found and near and len(shared) > 2:  # noqa: PLR2004 - the margins left and right are always there
            found[-1].append(row)
            gaps = shared
        else:
            found.append([row])
            gaps = _narrowed([_EVERYWHERE], row, least)
            bottom = 0
        bottom = max(bottom, *(line.y + line.h for line in row))
    return found


def split(block: Sequence[Row]) -> list[list[ScreenLine]]:
    """The parts of a block that are read one after the other, left to right."""
    lines = [line for row in block for line in row]
    gaps = [_EVERYWHERE]
    for row in block:
        gaps = _narrowed(gaps, row, COLUMN_GAP * _typical_height(block))
    columns = [
        [line for line in lines if left_gap[1] <= line.x < right_gap[0]] for left_gap, right_gap in pairwise(gaps)
    ]
    parts: list[list[ScreenLine]] = []
    for index, column in enumerate(columns):
        if index and not independent(columns[index - 1], column):
            parts[-1].extend(column)
        else:
            parts.append(list(column))
    return parts


def independent(left: Sequence[ScreenLine], right: Sequence[ScreenLine]) -> bool:
    """Whether two columns are read one after the other, and not across."""
    if min(len(left), len(right)) < COLUMN_LINES:
        return False
    return (_is_prose(left) and _is_prose(right)) or _aligned_share(left, right) < ALIGN_SHARE


def _is_prose(column: Sequence[ScreenLine]) -> bool:
    width = max(line.x + line.w for line in column) - min(line.x for line in column)
    return (
        median(line.w for line in column) >= PROSE_ASPECT * median(line.h for line in column)
        and median(line.w for line in column) >= PROSE_FILL * width
    )


def _aligned_share(left: Sequence[ScreenLine], right: Sequence[ScreenLine]) -> float:
    """How many lines of the shorter column have one on their level in the other, 0..1."""
    few, many = sorted((left, right), key=len)
    level = sum(
        any(abs(_middle(one) - _middle(other)) <= ALIGN_TOLERANCE * min(one.h, other.h) for other in many)
        for one in few
    )
    return level / len(few)


def _narrowed(gaps: Sequence[Gap], row: Row, least: float) -> list[Gap]:
    """What the lines of a row leave of the gaps, left to right; strips narrower than `least` pixels are dropped."""
    for line in row:
        line_end = line.x + max(line.w, 1)  # a box without width still stands somewhere
        gaps = [
            piece
            for start, end in gaps
            for piece in (
                ((start, end),)
                if end <= line.x or start >= line_end
                else ((start, float(line.x)), (float(line_end), end))
            )
            if piece[1] - piece[0] >= max(least, 1)
        ]
    return list(gaps)


def _middle(line: ScreenLine) -> float:
    return line.y + line.h / 2


def _across(line: ScreenLine) -> tuple[int, int, int, int, str, float]:
    return line.x, line.y, line.w, line.h, line.text, line.confidence


def _typical_height(page: Sequence[Row]) -> float:
    return median(line.h for row in page for line in row)
