"""The labelled suite on which small models are measured: every prompt is generated, every answer judged by code."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from random import Random

from evals.train.families import code, documents, knowledge, reasoning, text
from evals.train.items import Item, Maker

FAMILIES: dict[str, Maker] = {
    **text.FAMILIES,
    **knowledge.FAMILIES,
    **reasoning.FAMILIES,
    **code.FAMILIES,
    **documents.FAMILIES,
}
PER_FAMILY = 40
_TRIES = 30


@dataclass(frozen=True)
class Case:
    """One item of the suite. `id` is stable for a given seed."""

    id: str
    family: str
    item: Item


def build(seed: int = 1, per_family: int = PER_FAMILY) -> list[Case]:
    """The suite: at most `per_family` different prompts of each family, the same for the same seed."""
    cases: list[Case] = []
    for family, make in FAMILIES.items():
        rng = Random(zlib.crc32(f"{seed}:{family}".encode()))  # noqa: S311 - reproducible, not secret
        seen: set[tuple[str, str, str]] = set()
        for _ in range(per_family * _TRIES):
            item = make(rng)
            key = (item.system, item.prompt, item.passage)
            if key in seen:
                continue
            seen.add(key)
            cases.append(Case(f"{family}-{len(seen):03d}", family, item))
            if len(seen) == per_family:
                break
    return cases
