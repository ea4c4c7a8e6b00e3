"""Ridge regression of many outputs by their inner products: every penalty and fold from one matrix.

The outputs are turned first: how hard a prompt is for all models alike, and in which directions models differ. Each of
these gets a penalty of its own, chosen by cross-validation; differences, by which a router decides, are noisier than
difficulty and need a stronger one.

Source: the turning is that of Breiman and Friedman, "Predicting multivariate responses in multiple linear regression",
1997; the dual form is Saunders et al., 1998.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

Array = npt.NDArray[np.float64]
Fold = npt.NDArray[np.intp]
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


@dataclass(frozen=True)
class Fitted:
    """What was learnt.

    Attributes:
        dual: [n, outputs], weights of the training rows. offset: [outputs].
        penalties: [directions], as chosen.
        held_out: [n, outputs], predictions of each row by a fit that had not seen it.
    """

    dual: Array
    offset: Array
    penalties: tuple[float, ...]
    held_out: Array


def fit(kernel: Array, outputs: Array, folds: Sequence[Fold], progress: Callable[[], None] = lambda: None) -> Fitted:
    """Choose the penalties and fit.

    Args:
        kernel: [n, n], inner products of the rows. outputs: [n, outputs].
        folds: row numbers of each part that is held out in turn.
        progress: called after each fold.
    """
    basis = directions(outputs)
    held_out = np.empty((len(PENALTIES), *outputs.shape))
    for part in folds:
        rest = np.setdiff1d(np.arange(len(outputs)), part)
        offset = outputs[rest].mean(axis=0)
        turned = (outputs[rest] - offset) @ basis
        across = kernel[np.ix_(part, rest)]
        for i, penalty in enumerate(PENALTIES):
            held_out[i, part] = across @ _solve(kernel[np.ix_(rest, rest)], turned, penalty) + offset @ basis
        progress()
    truth = outputs @ basis
    errors = ((held_out - truth) ** 2).mean(axis=1)
    best = errors.argmin(axis=0)
    offset = outputs.mean(axis=0)
    turned = (outputs - offset) @ basis
    dual = np.empty_like(turned)
    for i in np.unique(best):
        dual[:, best == i] = _solve(kernel, turned[:, best == i], PENALTIES[i])
    chosen = np.stack([held_out[best[j], :, j] for j in range(len(best))], axis=1)
    return Fitted(dual @ basis.T, offset, tuple(PENALTIES[i] for i in best), chosen @ basis.T)


def directions(outputs: Array) -> Array:
    """Orthonormal [outputs, outputs]: their mean, then the directions in which they differ most."""
    width = outputs.shape[1]
    mean = np.full((width, 1), width**-0.5)
    apart = outputs - outputs.mean(axis=0)
    apart = apart - apart.mean(axis=1, keepdims=True)
    _, _, rows = np.linalg.svd(apart, full_matrices=True)
    basis, _ = np.linalg.qr(np.hstack([mean, rows[: width - 1].T]))
    return np.asarray(basis)


def _solve(kernel: Array, right: Array, penalty: float) -> Array:
    ridged = kernel + penalty * np.eye(len(kernel), dtype=kernel.dtype)
    factor = cho_factor(ridged, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, right.astype(kernel.dtype), check_finite=False))
