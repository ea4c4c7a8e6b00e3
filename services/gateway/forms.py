"""How often the answers of each way are not in the form that was asked for, beside how often they should be bad.

An answer in the wrong form is a bad one, whatever it says; one in the right form may be good or bad, so it is no
praise. If each misfit counted as one bad answer and nothing else counted, a way with one misfit in a hundred answers
would in time look worthless. So misfits are compared with the bad answers that are expected anyway: a way that has no
more misfits than that is as good as was thought, as far as forms can tell.

Source: the comparison is the standardised ratio of epidemiology (observed by expected cases), drawn towards 1 as in
Clayton and Kaldor, "Empirical Bayes estimates of age-standardized relative risks", 1987.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from services.gateway.kept import kept

_PRIOR_CASES = 2.0
_WAYS = 1024
_AGED = 1024  # answers of a way; then the older ones count half


@dataclass(slots=True)
class _Way:
    """Answers that were to have a form, and how many of them had not."""

    answers: float = 0.0
    misfits: float = 0.0


class Forms:
    """What one gateway has seen of the ways whose answers were to have a form."""

    def __init__(self) -> None:
        self._ways: OrderedDict[tuple[tuple[str, ...], str], _Way] = OrderedDict()

    def weight(self, steps: tuple[str, ...], model: str, expected: float, *, fits: bool) -> float:
        """Note an answer; how much it should teach beside a client's word, 0..1: nothing, unless it is a misfit.

        A misfit teaches the more, the oftener its way misfits beside how often it is now expected to answer badly. So
        what is expected comes down to the share of answers that fit, which is the most that can be good, and stays.

        Args:
            steps, model: the way.
            expected: probability that the answer is good, with what has been learnt.
        """
        way = kept(self._ways, (steps, model), _Way, _WAYS)
        way.answers += 1
        way.misfits += not fits
        if way.answers >= _AGED:
            way.answers, way.misfits = way.answers / 2, way.misfits / 2
        excess = (way.misfits + _PRIOR_CASES) / (way.answers * (1 - expected) + _PRIOR_CASES) - 1
        return 0.0 if fits else min(max(excess, 0.0), 1.0)
