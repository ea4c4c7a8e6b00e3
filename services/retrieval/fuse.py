"""Makes one ranking of several. Pure."""

from __future__ import annotations

from collections.abc import Sequence

K = 60


def fuse(rankings: Sequence[Sequence[int]], k: int = K) -> list[tuple[int, float]]:
    """Reciprocal rank fusion: (item, score), best first; ties go to the item that was named first.

    Each ranking gives an item 1 / (k + rank), so scores of different scales never have to be compared.

    Source: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009 (https://doi.org/10.1145/1571941.1572114); k = 60 is theirs.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(dict.fromkeys(ranking), start=1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (k + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])
