"""A policy: it learns from outcomes, then chooses a model for every prompt at every setting of a dial."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from evals.progress import Tell, silent
from evals.routing.curve import Choices
from evals.routing.dial import Prediction, by_price_of_quality, by_threshold
from evals.routing.matrix import Matrix


class Policy(Protocol):
    """A router under test."""

    name: str

    def fit(self, train: Matrix, tell: Tell = silent) -> None:
        """Learn from what is known."""

    def predict(self, prompts: Sequence[str]) -> Prediction | None:
        """What it expects of every model; None for a policy that expects nothing. From the prompts alone."""

    def choose(self, test: Matrix) -> Choices:
        """Columns of the models taken, [settings, n], from the cheapest setting to the best."""


class Predicting(ABC):
    """A policy that chooses by predicted quality and cost."""

    @abstractmethod
    def predict(self, prompts: Sequence[str]) -> Prediction:
        """To be made by the policy."""

    def choose(self, test: Matrix) -> Choices:
        """A pair without prices is ordered by the predicted gain, so that the dial goes on to all calls strong."""
        return turn(self.predict(test.prompts), test)


def turn(prediction: Prediction, matrix: Matrix) -> Choices:
    """The dial of a prediction over the models of `matrix`."""
    if matrix.pair and not matrix.priced:
        weak, strong = matrix.pair
        return by_threshold(prediction.quality[:, strong] - prediction.quality[:, weak], weak, strong)
    return by_price_of_quality(prediction)
