"""Ridge regression of many outputs by their inner products.

The outputs are turned first: how hard a prompt is for all models alike, and in which directions models differ.
Difficulty has one penalty and all differences have another, since differences, by which a router decides, are noisier.
Each is the penalty under which the outcomes are most likely. Chosen so it varies less from one draw of training prompts
to the next than if it were chosen by cross-validation; and one for all differences varies less than one for each.

Source: the turning is that of Breiman and Friedman, "Predicting multivariate responses in multiple linear regression",
1997; the dual form is Saunders et al., 1998; the likelihood is that of Rasmussen and Williams, "Gaussian Processes for
Machine Learning", 2006, equation 2.30, with the scale of the outcomes put at its most likely value.
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


def fit(kernel: Array, outputs: Array, progress: Callable[[], None] = lambda: None) -> Fitted:
    """Choose the penalties and fit.

    Args:
        kernel: [n, n], inner products of the rows. outputs: [n, outputs].
        progress: called `len(PENALTIES)` times.
    """
    basis = directions(outputs)
    offset = outputs.mean(axis=0)
    turned = (outputs - offset) @ basis
    parts = [part for part in (turned[:, :1], turned[:, 1:]) if part.shape[1]]
    worth = np.empty((len(PENALTIES), len(parts)))
    for i, penalty in enumerate(PENALTIES):
        factor = _factor(kernel, penalty)
        worth[i] = [_log_likelihood(factor, part, penalty) for part in parts]
        progress()
    best = worth.argmax(axis=0)
    dual, residual = np.empty_like(turned), np.empty_like(turned)
    column = np.minimum(np.arange(turned.shape[1]), 1)
    for i in np.unique(best):
        chosen = np.flatnonzero(best[column] == i)
        inverse = cho_solve(_factor(kernel, PENALTIES[i]), np.eye(len(kernel), dtype=kernel.dtype), check_finite=False)
        dual[:, chosen] = inverse @ turned[:, chosen]
        # How far off a fit without this row is. Source: Rasmussen and Williams, equation 5.12.
        residual[:, chosen] = dual[:, chosen] / np.diag(inverse)[:, None]
    held_out = (turned - residual) @ basis.T + offset
    return Fitted(dual @ basis.T, offset, tuple(PENALTIES[i] for i in best), held_out)


def directions(outputs: Array) -> Array:
    """Orthonormal [outputs, outputs]: their mean, then the directions in which they differ most."""
    width = outputs.shape[1]
    mean = np.full((width, 1), width**-0.5)
    apart = outputs - outputs.mean(axis=0)
    apart = apart - apart.mean(axis=1, keepdims=True)
    _, _, rows = np.linalg.svd(apart, full_matrices=True)
    basis, _ = np.linalg.qr(np.hstack([mean, rows[: width - 1].T]))
    return np.asarray(basis)


def _factor(kernel: Array, penalty: float) -> tuple[Array, bool]:
    ridged = kernel + penalty * np.eye(len(kernel), dtype=kernel.dtype)
    factor, lower = cho_factor(ridged, lower=True, overwrite_a=True, check_finite=False)
    return factor, bool(lower)


def _log_likelihood(factor: tuple[Array, bool], part: Array, penalty: float) -> float:
    """Of all columns, without what does not depend on the penalty; each has a scale of its own.

    A column is taken for a draw from a normal distribution of covariance `scale * (kernel / penalty + 1)`.
    """
    n = len(part)
    solved = cho_solve(factor, part.astype(factor[0].dtype), check_finite=False)
    scales = penalty * (part * solved).sum(axis=0) / n
    scales = scales[scales > np.finfo(np.float32).tiny]  # every penalty predicts alike what does not vary
    log_determinant = 2 * float(np.log(np.diag(factor[0]).astype(np.float64)).sum()) - n * np.log(penalty)
    return -0.5 * float(n * np.log(scales).sum() + len(scales) * log_determinant)
