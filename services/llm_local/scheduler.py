"""What the next step computes, and which sequence a newcomer gets. Pure: no clock, no llama.cpp, no thread.

A step is one token for every answer that is being written, then some prompt tokens of those that wait for their first.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

MAX_CHUNK_TOKENS = 63
"""From 64 rows on llama.cpp's CPU attention takes another path, whose last bits differ. Below it, what a token computes
does not depend on how the prompt was cut, on what was cached, or on who else is being served."""

_LEAST_PROMPT_TOKENS = 8
_STALL_FACTOR = 1.6  # prompt work between two tokens of others, in units of a step without prompt work
_CROWD = 2  # so many waiting for each one that writes
WHOLE_TOKENS = 48  # a prompt of so many new tokens is read in one piece
_LEAST_COPY_TOKENS = 8
LONG_TOKENS = 256  # so much text is spared even if busy sequences then have a gap between them
CELLS_A_TOKEN = 256  # copying so many cells takes less than computing one token


@dataclass
class Lane:
    """One sequence of llama.cpp's context. `tokens` is what its cells hold."""

    index: int
    tokens: list[int] = field(default_factory=list)
    busy: bool = False
    used_at: int = 0  # a counter, not a time: larger is later


@dataclass(frozen=True)
class Placement:
    """Where a new prompt goes.

    Attributes:
        sequence: index of the sequence it gets.
        keep: tokens at its start that need not be computed again.
        copy_from: sequence to copy first, or None.
    """

    sequence: int
    keep: int
    copy_from: int | None = None


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two texts share at their start."""
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:  # one comparison in C answers the usual case
        return limit
    low, high = 0, limit  # left[:low] is shared; left[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low


def worth_copying(sequence_tokens: int) -> int:
    """A shared prefix shorter than this is computed again: llama.cpp copies all cells of a sequence, used or not."""
    return max(_LEAST_COPY_TOKENS, sequence_tokens // CELLS_A_TOKEN)


def place(prompt: Sequence[int], sequences: Sequence[Lane], *, copy_least: int | None) -> Placement | None:
    """The sequence for a prompt: the free one that shares the longest prefix, else the least recently used.

    A longer prefix held elsewhere is copied. Its owner keeps it, so a system prompt shared by many stays shared. The
    last token of a prompt is always computed: its logits choose the first token of the answer.

    Args:
        prompt: the tokens.
        sequences: all of them.
        copy_least: a shared prefix of so many tokens is worth copying; None: sequences cannot be copied.

    Returns:
        None if no sequence is free.
    """
    free = [sequence for sequence in sequences if not sequence.busy]
    if not free:
        return None
    most = len(prompt) - 1
    shared = {sequence.index: min(most, common_prefix(sequence.tokens, prompt)) for sequence in sequences}
    busy = {sequence.index for sequence in sequences if sequence.busy}
    grain = copy_least or 1  # prefixes that differ by less are as good as each other

    def cost(s: Lane) -> tuple[bool, int, bool, int, int]:
        """What giving this one away costs: long texts last, neighbours of busy ones first, then the oldest."""
        return (len(s.tokens) - shared[s.index] >= LONG_TOKENS, _gaps(s.index, busy), *_age(s))

    # Reusing in place destroys what follows the shared part: worth it if that is little, or nothing else is free.
    own = min(free, key=lambda s: (-(shared[s.index] // grain), _gaps(s.index, busy), s.used_at, s.index))
    donor = max(sequences, key=lambda s: (shared[s.index], -s.index))
    keep = shared[own.index]
    loses_more = len(own.tokens) - keep > keep
    if copy_least is not None and keep >= copy_least and loses_more and len(free) > 1:
        victim = min((s for s in free if s is not own), key=cost)
        return Placement(victim.index, keep, own.index)
    if copy_least is not None and shared[donor.index] - keep >= copy_least:
        victim = min(free, key=cost)
        return Placement(victim.index, shared[donor.index], donor.index)
    if keep < grain:
        own = min(free, key=cost)
    return Placement(own.index, shared[own.index])


def _gaps(index: int, busy: Set[int]) -> int:
    """How many more runs of neighbours there are when this one is busy too: -1 to 1.

    llama.cpp computes neighbouring sequences in one go, and each run anew.
    """
    return 1 - (index - 1 in busy) - (index + 1 in busy)


def _age(sequence: Lane) -> tuple[bool, int, int]:
    """Empty ones first, then the least recently used."""
    return (bool(sequence.tokens), sequence.used_at, sequence.index)


@dataclass(frozen=True)
class Speeds:
    """Recent times: of a step without prompt work, seconds, and prompt tokens per second. Zero until measured."""

    step_s: float = 0.0
    prefill_tps: float = 0.0


def prompt_budget(writing: int, lefts: Sequence[int], batch_tokens: int, speeds: Speeds) -> int:
    """How many prompt tokens the next step may compute.

    With nobody writing, a whole batch; also when most wait for their first token and one batch serves them all: the
    sooner they write, the fewer steps there are. Else so few that a step stays within about three times its normal
    length, and more when more are waiting than are writing.

    Args:
        writing: answers that get a token in this step.
        lefts: tokens not yet computed of each prompt that waits.
        batch_tokens: the most allowed.
        speeds: as measured.
    """
    waiting = len(lefts)
    if waiting == 0:
        return 0
    if writing == 0 or (waiting >= _CROWD * writing and sum(lefts) <= batch_tokens):
        return batch_tokens
    if speeds.step_s <= 0 or speeds.prefill_tps <= 0:
        return min(batch_tokens, MAX_CHUNK_TOKENS)
    share = _STALL_FACTOR * speeds.step_s * speeds.prefill_tps * max(1.0, waiting / writing)
    return max(_LEAST_PROMPT_TOKENS, min(batch_tokens, int(share)))


def chunks(waiting: Sequence[tuple[int, bool]], budget: int) -> list[int]:
    """How many tokens each waiting prompt gets in this step, first come first served, each at most one chunk.

    A short prompt is not cut: a few rows at a time cost almost as much as all of them at once.

    Args:
        waiting: tokens left of each waiting prompt and whether it has been begun, oldest first.
        budget: from `prompt_budget`; a short prompt may go beyond it.
    """
    result: list[int] = []
    for left, begun in waiting:
        whole = left <= WHOLE_TOKENS and not begun
        take = 0 if budget <= 0 else left if whole else min(left, budget, MAX_CHUNK_TOKENS)
        result.append(take)
        budget -= take
    return result
