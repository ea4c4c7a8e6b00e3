"""The labelled suite on which small models are measured: every prompt is generated, every answer judged by code."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from random import Random

from evals.train.families import code, documents, everyday, knowledge, language, reasoning, text
from evals.train.items import Item, Maker

FAMILIES: dict[str, Maker] = {
    **text.FAMILIES,
    **language.FAMILIES,
    **knowledge.FAMILIES,
    **everyday.FAMILIES,
    **reasoning.FAMILIES,
    **code.FAMILIES,
    **documents.FAMILIES,
}
PER_FAMILY = 40
# More prompts of what the default quality floor is decided on.
_TIMES = {"sentiment": 8, "sentiment-binary": 8, "sentiment-bare": 6, "sentiment-unquoted": 4}
_TRIES = 30
# What applications put before a question without meaning much by it; a part of the prompts has one.
_SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer briefly.",
    "Be concise.",
    "You are the support assistant of Acme Ltd. Be polite.",
    "Answer in English.",
)
_WITH_SYSTEM = 0.15


@dataclass(frozen=True)
class Case:
    """One item of the suite. `id` is stable for a given seed."""

    id: str
    family: str
    item: Item


def build(seed: int = 1, per_family: int = PER_FAMILY) -> list[Case]:
    """The suite: about `per_family` different prompts of each family, the same for the same seed."""
    cases: list[Case] = []
    for family, make in FAMILIES.items():
        rng = Random(zlib.crc32(f"{seed}:{family}".encode()))  # noqa: S311 - reproducible, not secret
        seen: set[tuple[str, str, str]] = set()
        most = per_family * _TIMES.get(family, 1)
        for _ in range(most * _TRIES):
            item = make(rng)
            if not item.system and rng.random() < _WITH_SYSTEM:
                item = replace(item, system=rng.choice(_SYSTEMS))
            key = (item.system, item.prompt, item.passage)
            if key in seen:
                continue
            seen.add(key)
            cases.append(Case(f"{family}-{len(seen):03d}", family, item))
            if len(seen) == most:
                break
    return cases
