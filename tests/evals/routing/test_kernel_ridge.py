"""The regression behind our policy: against the closed form, and that nothing held out is seen."""

from __future__ import annotations

import numpy as np
import pytest

from evals.routing.policies import kernel_ridge
from evals.routing.policies.views import BUCKETS, Views

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 8))
Y = X @ RNG.standard_normal((8, 3)) + 0.5 * RNG.standard_normal((60, 3))


def test_the_dual_form_is_ridge_regression() -> None:
    fitted = kernel_ridge.fit(X @ X.T, Y)

    basis = kernel_ridge.directions(Y)
    weights = np.stack(
        [
            np.linalg.solve(X.T @ X + penalty * np.eye(8), X.T @ ((Y - Y.mean(axis=0)) @ basis[:, i]))
            for i, penalty in enumerate((*fitted.penalties, fitted.penalties[1]))  # one for all differences
        ],
        axis=1,
    )
    assert X.T @ fitted.dual == pytest.approx(weights @ basis.T)
    assert fitted.offset == pytest.approx(Y.mean(axis=0))


def test_directions_are_the_mean_and_what_differs() -> None:
    basis = kernel_ridge.directions(Y)

    assert basis.T @ basis == pytest.approx(np.eye(3))
    assert np.abs(basis[:, 0]) == pytest.approx(np.full(3, 3**-0.5))


def test_a_held_out_prediction_is_that_of_a_fit_without_the_row() -> None:
    kernel = X @ X.T
    fitted = kernel_ridge.fit(kernel, Y)
    rest = np.arange(1, 60)

    basis = kernel_ridge.directions(Y)
    turned = (Y - Y.mean(axis=0)) @ basis
    alone = [
        kernel[0, rest] @ np.linalg.solve(kernel[np.ix_(rest, rest)] + penalty * np.eye(59), turned[rest, i])
        for i, penalty in enumerate((*fitted.penalties, fitted.penalties[1]))
    ]
    assert fitted.held_out[0] == pytest.approx(np.array(alone) @ basis.T + Y.mean(axis=0))


def test_the_penalty_is_the_one_that_predicts_best_what_it_has_not_seen() -> None:
    kernel = X @ X.T
    y = X @ RNG.standard_normal((8, 1)) + 10 * RNG.standard_normal((60, 1))
    centred = (y - y.mean())[:, 0]

    def error(penalty: float) -> float:
        missed = 0.0
        for row in range(60):
            rest = np.delete(np.arange(60), row)
            weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + penalty * np.eye(59), centred[rest])
            missed += float(centred[row] - kernel[row, rest] @ weights) ** 2
        return missed

    (found,) = kernel_ridge.fit(kernel, y).penalties
    assert found == min(kernel_ridge.PENALTIES, key=error) > kernel_ridge.PENALTIES[0]


def test_an_outcome_that_never_varies_is_predicted_as_it_was() -> None:
    outputs = np.column_stack([np.ones(60), np.ones(60)])
    fitted = kernel_ridge.fit(X @ X.T, outputs)
    assert fitted.held_out == pytest.approx(outputs)


def test_noise_gets_a_stronger_penalty_than_signal() -> None:
    noise = RNG.standard_normal((60, 1))
    signal = X @ RNG.standard_normal((8, 1))

    (loud,), (clear,) = (kernel_ridge.fit(X @ X.T, y).penalties for y in (noise, signal))

    assert loud > clear


def test_a_matrix_holds_the_vectors_of_its_prompts() -> None:
    views = Views()
    matrix = views.fit(["add 12 and 30", "add 7 and 9", "prove the theorem"])

    at, values = views.vector("add 7 and 9")

    row = np.zeros(matrix.shape[1], dtype=np.float32)
    row[at] = values
    assert matrix[[1]].toarray()[0] == pytest.approx(row)
    assert np.square(row[:BUCKETS]).sum() == pytest.approx(2.0, rel=1e-5)  # words and characters, 1 each


def test_what_only_one_prompt_has_says_nothing() -> None:
    views = Views()
    views.fit(["add the numbers", "add the words"])

    known, other = (np.abs(values[at < BUCKETS]).sum() for at, values in (views.vector("add"), views.vector("zebra")))

    assert known > 0
    assert other == 0


def test_no_text_at_all_is_a_vector_too() -> None:
    views = Views()
    views.fit(["add the numbers", "add the words"])

    _, values = views.vector("")

    assert np.isfinite(values).all()
