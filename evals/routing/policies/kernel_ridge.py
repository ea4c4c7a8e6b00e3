"""Ridge regression of many outputs by their inner products.

The outputs are turned first: how hard a prompt is for all models alike, and in which directions models differ.
Difficulty has one penalty and all differences have another, since differences, by which a router decides, are noisier.
Each is the one that predicts best what it has not seen, each row by all the others; one for all differences varies less
from one draw of training prompts to the next than one for each.

Source: the turning is that of Breiman and Friedman, "Predicting multivariate responses in multiple linear regression",
1997; the dual form is Saunders et al., 1998; leaving out each row in closed form is Allen's PRESS, 1974.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

Array = npt.NDArray[np.float64]
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


@dataclass(frozen=True)
class Fitted:
    """What was learnt.

    Attributes:
        dual: [n, outputs], weights of the training rows. offset: [outputs].
        penalties: of difficulty and, with more than one output, of the differences.
        held_out: [n, outputs], predictions of each row by a fit that had not seen it.
    """

    dual: Array
    offset: Array
    penalties: tuple[float, ...]
    held_out: Array


@dataclass(frozen=True)
class _Part:
    """Some of the turned outputs, by one penalty. `missed` [n, some] is the truth less the held-out prediction."""

    penalty: float
    dual: Array
    missed: Array

    @property
    def error(self) -> float:
        return float(np.square(self.missed).sum())


def fit(kernel: Array, outputs: Array, progress: Callable[[], None] = lambda: None) -> Fitted:
    """Choose the penalties and fit.

    Args:
        kernel: [n, n], inner products of the rows. outputs: [n, outputs].
        progress: called `len(PENALTIES)` times.
    """
    basis = directions(outputs)
    offset = outputs.mean(axis=0)
    turned = (outputs - offset) @ basis
    parts = [turned[:, :1], turned[:, 1:]] if turned.shape[1] > 1 else [turned]
    tried: list[list[_Part]] = []
    for penalty in PENALTIES:
        inverse = _inverse(kernel, penalty)
        tried.append([_fit(inverse, part, penalty) for part in parts])
        progress()
    best = [min(of_one, key=lambda part: part.error) for of_one in zip(*tried, strict=True)]
    held_out = turned - np.hstack([part.missed for part in best])
    dual = np.hstack([part.dual for part in best])
    return Fitted(dual @ basis.T, offset, tuple(part.penalty for part in best), held_out @ basis.T + offset)


def directions(outputs: Array) -> Array:
    """Orthonormal [outputs, outputs]: their mean, then the directions in which they differ most."""
    width = outputs.shape[1]
    mean = np.full((width, 1), width**-0.5)
    apart = outputs - outputs.mean(axis=0)
    apart = apart - apart.mean(axis=1, keepdims=True)
    _, _, rows = np.linalg.svd(apart, full_matrices=True)
    basis, _ = np.linalg.qr(np.hstack([mean, rows[: width - 1].T]))
    return np.asarray(basis)


def _fit(inverse: Array, part: Array, penalty: float) -> _Part:
    dual = np.asarray(inverse @ part.astype(inverse.dtype), dtype=np.float64)
    return _Part(penalty, dual, dual / np.diag(inverse)[:, None])


def _inverse(kernel: Array, penalty: float) -> Array:
    one = np.eye(len(kernel), dtype=kernel.dtype)
    factor = cho_factor(kernel + penalty * one, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, one, overwrite_b=True, check_finite=False))
