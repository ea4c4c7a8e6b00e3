"""Policies that learn next to nothing: what every router has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evals.progress import Tell, silent
from evals.routing.curve import Choices
from evals.routing.dial import Prediction, by_threshold
from evals.routing.matrix import Matrix
from evals.routing.policies.base import turn


class Single:
    """One model for everything."""

    def __init__(self, model: str) -> None:
        self.name = model

    def fit(self, train: Matrix, tell: Tell = silent) -> None:
        """Nothing to learn."""

    def predict(self, prompts: Sequence[str]) -> None:
        """It expects nothing."""

    def choose(self, test: Matrix) -> Choices:
        """Always the same."""
        return np.full((1, len(test)), test.models.index(self.name), dtype=np.int16)


class _Ends:
    """Knows the cheapest and the best model of the training prompts."""

    cheapest = 0
    strongest = 0

    def fit(self, train: Matrix, tell: Tell = silent) -> None:  # noqa: ARG002 - done in a moment
        """Look up which they are. Where there is a pair, they are its weak and its strong model."""
        self.cheapest, self.strongest = train.pair or (
            int(train.cost.mean(axis=0).argmin()),
            int(train.quality.mean(axis=0).argmax()),
        )

    def predict(self, prompts: Sequence[str]) -> None:
        """It expects nothing."""


class Cheapest(_Ends):
    """The model that cost least in training."""

    name = "cheapest"

    def choose(self, test: Matrix) -> Choices:
        """Always the same."""
        return np.full((1, len(test)), self.cheapest, dtype=np.int16)


class Strongest(_Ends):
    """The model that was best in training."""

    name = "strongest"

    def choose(self, test: Matrix) -> Choices:
        """Always the same."""
        return np.full((1, len(test)), self.strongest, dtype=np.int16)


class RandomMix(_Ends):
    """Either end, by a throw. Its curve is the straight line between them: between two settings all policies mix."""

    name = "random"

    def choose(self, test: Matrix) -> Choices:
        """The two ends."""
        return np.repeat(np.array([[self.cheapest], [self.strongest]], dtype=np.int16), len(test), axis=1)


class Length(_Ends):
    """The long prompts to the strongest model, the others to the cheapest."""

    name = "length"

    def choose(self, test: Matrix) -> Choices:
        """By the number of characters."""
        lengths = np.array([len(prompt) for prompt in test.prompts], dtype=float)
        return by_threshold(lengths, self.cheapest, self.strongest)


class Oracle:
    """Knows what every answer will be worth and cost: what no router can beat."""

    name = "oracle"

    def fit(self, train: Matrix, tell: Tell = silent) -> None:
        """Nothing to learn."""

    def predict(self, prompts: Sequence[str]) -> None:
        """It knows; it does not expect."""

    def choose(self, test: Matrix) -> Choices:
        """By the truth."""
        return turn(Prediction(test.quality, test.cost), test)
