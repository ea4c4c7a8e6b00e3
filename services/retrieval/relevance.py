"""How likely a passage bears on a query: a probability, calibrated on labelled pairs.

Cosines of E5 lie in a narrow band whose place depends on the query, so a fixed threshold on them means little. Three
things make them comparable: how far the cosine stands above those of the same query with passages about anything else,
how far it stands above those of the same passage with questions about anything else, and the words they share.

Source: the two margins are those of CSLS (Conneau et al., "Word Translation Without Parallel Data", 2018, section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import msgspec
import numpy as np

from services.contracts.errors import ConfigError
from services.retrieval.embed import VERSION, Vector

FEATURES = ("query_margin", "passage_margin", "coverage")
_NEIGHBOURS = 5
_CODE = 3.0


class Fit(msgspec.Struct, frozen=True):
    """The file that `evals/relevance/fit.py` writes.

    Attributes:
        embedder: the version of the embedder that the fit is for.
        weights: of `FEATURES`, in their order.
        held_out: what was measured on questions and documents that were not fitted on.
    """

    embedder: str
    weights: tuple[float, float, float]
    intercept: float
    held_out: dict[str, float]


@dataclass(frozen=True)
class Background:
    """Vectors of texts about anything: passages, shape (n, 384), and questions, shape (m, 384)."""

    passages: Vector
    questions: Vector

    def query_level(self, query: Vector) -> float:
        """The mean cosine of a query with the background passages nearest to it."""
        return _nearest(self.passages @ query)

    def passage_level(self, passage: Vector) -> float:
        """The mean cosine of a passage with the background questions nearest to it."""
        return _nearest(self.questions @ passage)


@dataclass(frozen=True)
class Relevance:
    """The calibrated judge. `load` reads the one that is shipped."""

    background: Background
    fit: Fit

    @classmethod
    def load(cls) -> Relevance:
        """The judge as it was fitted.

        Raises:
            ConfigError: the fit is for another embedder.
        """
        package = files("services.retrieval")
        fit = msgspec.json.decode((package / "relevance.json").read_bytes(), type=Fit)
        if fit.embedder != VERSION:
            raise ConfigError(f"relevance.json is fitted for {fit.embedder}, not {VERSION}: run evals.relevance.fit")
        with (package / "background.npz").open("rb") as file:
            arrays = np.load(file)
            background = Background(arrays["passages"].astype(np.float32), arrays["questions"].astype(np.float32))
        return cls(background, fit)

    def of(self, query: Vector, query_words: Sequence[str], passage: Vector, passage_words: Sequence[str]) -> float:
        """The probability that the passage bears on the query. Words are stems without stop words."""
        values = features(self.background, query, query_words, passage, passage_words)
        return logistic(self.fit.intercept + sum(w * v for w, v in zip(self.fit.weights, values, strict=True)))


def features(
    background: Background, query: Vector, query_words: Sequence[str], passage: Vector, passage_words: Sequence[str]
) -> tuple[float, float, float]:
    """`FEATURES` of one pair. Pure."""
    similarity = float(query @ passage)
    return (
        similarity - background.query_level(query),
        similarity - background.passage_level(passage),
        coverage(query_words, passage_words),
    )


def coverage(query_words: Sequence[str], passage_words: Sequence[str]) -> float:
    """The share of the query's words that stand in the passage, 0..1, by how much each says.

    Longer words say more, and codes and numbers, which vectors hardly tell apart, say most.
    """
    there = set(passage_words)
    weights = {word: math.log2(1 + len(word)) * (_CODE if _has_digit(word) else 1) for word in query_words}
    total = sum(weights.values())
    return sum(weight for word, weight in weights.items() if word in there) / total if total else 0.0


def _has_digit(word: str) -> bool:
    return any(char.isdigit() for char in word)


def logistic(value: float) -> float:
    """1 / (1 + e^-value), for any value."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else 1 - 1 / (1 + math.exp(value))


def _nearest(similarities: Vector) -> float:
    count = min(_NEIGHBOURS, len(similarities))
    return float(np.sort(similarities)[-count:].mean())
