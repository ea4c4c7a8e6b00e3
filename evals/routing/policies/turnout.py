"""Our offline router: trained on outcomes, it predicts for each prompt what every model's answer is worth and costs.

Quality is ridge regression on the running router's own vector of the text, with one penalty for how hard a prompt is
and one for where models differ (`kernel_ridge`). Cost is the same regression of its logarithm: prompts differ in cost
as much as models do, and to know it is worth as much as to know their quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from evals.progress import Tell, silent
from evals.routing.dial import Prediction
from evals.routing.matrix import Floats, Matrix
from evals.routing.policies import kernel_ridge
from evals.routing.policies.base import Predicting
from evals.routing.policies.views import Floats as Values
from evals.routing.policies.views import Ints, Views

_LEAST_USD = 1e-7


class Turnout(Predicting):
    """Ridge in the space of words and characters, turned by what models have in common and where they differ."""

    name = "turnout"
    STEPS = 1 + 2 * len(kernel_ridge.PENALTIES)  # how often training tells what it is at, at most

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}
        self._views = Views()

    def fit(self, train: Matrix, tell: Tell = silent) -> None:
        """Learn vocabulary, qualities, and, where the table has prices, costs."""
        vectors = self._views.fit(train.prompts)
        tell("turnout: inner products")
        kernel = np.asarray((vectors @ vectors.T).toarray())
        quality = kernel_ridge.fit(kernel, train.quality, lambda: tell("turnout: quality"))
        self._quality = _Primal(vectors, quality)
        self._mean_cost = train.cost.mean(axis=0)
        self._cost: _Primal | None = None
        self.notes = {"penalties": list(quality.penalties)}
        if train.priced:
            logs = np.log(train.cost + _LEAST_USD)
            found = kernel_ridge.fit(kernel, logs, lambda: tell("turnout: cost"))
            self._cost = _Primal(vectors, found)
            # The mean of a logarithm is below the logarithm of the mean. Source: Duan, "Smearing estimate", 1983.
            self._smear = self._mean_cost / np.exp(found.held_out).mean(axis=0)

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Qualities within 0..1; costs in USD, or shares of strong calls where there are no prices."""
        vectors = [self._views.vector(prompt) for prompt in prompts]
        quality = np.clip([self._quality(vector) for vector in vectors], 0, 1)
        if self._cost is None:
            return Prediction(quality, np.broadcast_to(self._mean_cost, quality.shape))
        return Prediction(quality, np.exp([self._cost(vector) for vector in vectors]) * self._smear)


class _Primal:
    """A fitted kernel ridge as weights of the features, so that a prediction is one sum over what a prompt holds."""

    def __init__(self, vectors: sp.csr_matrix, fitted: kernel_ridge.Fitted) -> None:
        self._weights = np.asarray(vectors.T @ fitted.dual)
        self._offset = fitted.offset

    def __call__(self, vector: tuple[Ints, Values]) -> Floats:
        at, values = vector
        return np.asarray(values @ self._weights[at] + self._offset, dtype=np.float64)
