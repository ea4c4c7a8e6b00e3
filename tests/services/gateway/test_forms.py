"""Answers in the wrong form teach as far as there are more of them than bad answers were expected, and no further."""

from __future__ import annotations

import pytest

from router.learning import Calibration, shifted, way
from services.contracts.draw import draw
from services.contracts.feedback import Feedback
from services.gateway import forms
from services.gateway.forms import Forms

WAY = ("small",), "m"


def learnt(predicted: float, misfits: float, answers: int) -> float:
    """What is expected of a way in the end, of whose answers this part are misfits."""
    known, seen = Calibration(1e9, lambda: 1.0), Forms()
    for number in range(answers):
        expected = shifted(predicted, known.offsets().get(way(*WAY), 0.0))
        fits = draw(f"{number}", "form") >= misfits
        weight = seen.weight(*WAY, expected, fits=fits)
        if not fits:
            known.learn(Feedback(f"{number}", 0.0, *WAY, 1.0, predicted, "schema", weight))
    return shifted(predicted, known.offsets().get(way(*WAY), 0.0))


@pytest.mark.parametrize("predicted", [0.5, 0.7, 0.9])
def test_a_way_with_no_more_misfits_than_bad_answers_stays_what_it_was(predicted: float) -> None:
    assert learnt(predicted, (1 - predicted) / 10, 4000) == pytest.approx(predicted, abs=0.01)


@pytest.mark.parametrize(("predicted", "misfits"), [(0.7, 0.6), (0.9, 0.3), (0.9, 0.6), (0.95, 0.2)])
def test_a_way_with_more_misfits_is_thought_as_good_as_those_that_fit(predicted: float, misfits: float) -> None:
    assert learnt(predicted, misfits, 2000) == pytest.approx(1 - misfits, abs=0.1)


def test_an_answer_that_fits_teaches_nothing_and_a_misfit_at_most_a_clients_word() -> None:
    seen = Forms()
    assert seen.weight(*WAY, 0.9, fits=True) == 0.0
    weights = [seen.weight(*WAY, 0.9, fits=False) for _ in range(50)]
    assert 0 < weights[0] < 0.5
    assert weights == sorted(weights)
    assert weights[-1] == 1.0


def test_ways_are_counted_apart_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_WAYS", 2)
    seen = Forms()
    for _ in range(50):
        seen.weight(*WAY, 0.9, fits=False)
    first = Forms().weight(("other",), "m", 0.9, fits=False)
    assert seen.weight(("other",), "m", 0.9, fits=False) == first
    assert seen.weight(*WAY, 0.9, fits=False) == 1.0
    seen.weight(("third",), "m", 0.9, fits=True)
    seen.weight(("fourth",), "m", 0.9, fits=True)
    assert seen.weight(*WAY, 0.9, fits=False) == first
