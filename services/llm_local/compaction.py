"""Which sequences to move so that those that write are neighbours. Pure.

llama.cpp computes neighbouring sequences in one pass over the weights, and each run of neighbours in a pass of its own.
Answers end in any order and leave gaps; a long text worth keeping may stand in the middle. A move copies a sequence's
cells once; a gap costs a pass in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.llm_local.scheduler import CELLS_A_TOKEN, LONG_TOKENS, Lane

_SURELY = 2  # what is saved must be so many times what the moves cost


@dataclass(frozen=True)
class Move:
    """Copy what a sequence holds to another one, which loses what it held."""

    source: int
    target: int


def compaction(lanes: Sequence[Lane], steps: int, cells: int) -> list[Move]:
    """The moves, in their order, after which the busy sequences stand side by side; none where that would not pay.

    A pass over the weights takes at least as long as reading one more prompt token, in which time so many cells can be
    copied (`scheduler.CELLS_A_TOKEN`).

    Args:
        lanes: all sequences, by index.
        steps: how many more steps the busy ones are expected to write.
        cells: of each sequence; a copy takes all of them, used or not.
    """
    busy = [lane.index for lane in lanes if lane.busy]
    gaps = sum(later - earlier > 1 for earlier, later in pairwise(busy))
    if gaps == 0:
        return []
    plans = [_into(lanes, busy, start) for start in range(len(lanes) - len(busy) + 1)]
    moves = min((plan for plan in plans if plan is not None), key=len, default=[])
    cost = len(moves) * cells / CELLS_A_TOKEN
    return moves if cost * _SURELY <= gaps * steps else []


def _into(lanes: Sequence[Lane], busy: Sequence[int], start: int) -> list[Move] | None:
    """The moves after which the busy sequences are those from `start` on. Long texts that stand there move, too.

    None where there is no place for one.
    """
    block = range(start, start + len(busy))
    outside = [index for index in busy if index not in block]
    holes = [index for index in block if not lanes[index].busy]
    long_texts = [index for index in holes if len(lanes[index].tokens) >= LONG_TOKENS]
    spare = sorted(
        (lane for lane in lanes if not lane.busy and lane.index not in block and len(lane.tokens) < LONG_TOKENS),
        key=lambda lane: (len(lane.tokens), lane.used_at),
    )
    if len(long_texts) > len(spare):
        return None
    saved = [Move(index, lane.index) for index, lane in zip(long_texts, spare, strict=False)]
    return saved + [Move(*pair) for pair in zip(outside, holes, strict=True)]
