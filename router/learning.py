"""What feedback teaches: how much better or worse a component is than the predictor says. Pure but for one clock.

Each way (its components and the model at the end) has an offset on the scale of log-odds that is added to what the
predictor says. Nobody knows it beforehand: it is a normal variable around 0. A verdict moves it by a Newton step of the
logistic likelihood, the less the more is known; time draws it back to 0 and makes it uncertain again (an
Ornstein-Uhlenbeck process). So no single verdict turns the routing round, and a component that changes without saying
so is learnt anew; one that comes with another model has another offset at once.

Source: extended Kalman filter for logistic regression, as in Glickman, "Parameter estimation in large dynamic paired
comparison experiments", 1999.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from router.odds import bounded, log_odds, probability_of
from services.contracts.feedback import Feedback

PRIOR_VARIANCE = 0.25
MOST = 3.0
"""No offset is larger: 0.6 becomes 0.07 or 0.97 at most."""
_MAX_WAYS = 1024
_REMEMBERED = 20_000
_REFRESH_S = 10.0


def way(steps: tuple[str, ...], model: str) -> str:
    """The key under which a way is learnt: another model is another way."""
    return f"{'>'.join(steps)} {model}"


def shifted(probability: float, offset: float) -> float:
    """A probability moved on the scale of log-odds. Never certain."""
    if not offset:
        return probability
    return probability_of(log_odds(probability) + offset)


@dataclass(frozen=True)
class Offset:
    """A normal belief about one way's offset. `at_s`: when it was true."""

    mean: float = 0.0
    variance: float = PRIOR_VARIANCE
    at_s: float = 0.0

    def at(self, now_s: float, half_life_s: float) -> Offset:
        """The belief after some time without news."""
        kept = 0.5 ** (max(0.0, now_s - self.at_s) / half_life_s)
        variance = PRIOR_VARIANCE - (PRIOR_VARIANCE - self.variance) * kept**2
        return Offset(self.mean * kept, variance, max(now_s, self.at_s))

    def told(self, prior: float, quality: float, weight: float = 1.0) -> Offset:
        """The belief after a verdict on an answer of which the predictor had said `prior`."""
        expected = shifted(bounded(prior), self.mean)
        variance = 1 / (1 / self.variance + weight * expected * (1 - expected))
        mean = self.mean + variance * weight * (quality - expected)
        return Offset(min(max(mean, -MOST), MOST), variance, self.at_s)


class Calibration:
    """The offsets of all ways. One router owns it; `offsets` is what a choice sees of it."""

    def __init__(self, half_life_s: float, clock_s: Callable[[], float]) -> None:
        self.half_life_s = half_life_s
        self._clock_s = clock_s
        self._beliefs: OrderedDict[str, Offset] = OrderedDict()
        self._heard: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._shown: Mapping[str, float] = {}
        self._shown_until_s = 0.0

    def learn(self, feedback: Feedback) -> None:
        """Take a verdict. The first of its source on a decision counts; one that teaches nothing is passed over."""
        heard = (feedback.decision_id, feedback.source)
        if feedback.prior is None or heard in self._heard or not _sound(feedback):
            return
        self._heard[heard] = None
        if len(self._heard) > _REMEMBERED:
            self._heard.popitem(last=False)
        key = way(feedback.steps, feedback.model)
        at_s = min(feedback.at_s, self._clock_s())
        belief = self._beliefs.pop(key, Offset(at_s=at_s)).at(at_s, self.half_life_s)
        told = belief.told(feedback.prior, feedback.quality, feedback.weight)
        # Who asks again does not praise, however bad the answer was expected to be.
        praised = feedback.source == "retried" and told.mean > belief.mean
        self._beliefs[key] = belief if praised else told
        if len(self._beliefs) > _MAX_WAYS:
            self._beliefs.popitem(last=False)
        self._shown_until_s = 0.0

    def offsets(self) -> Mapping[str, float]:
        """What to add to the log-odds of each way now; empty as long as nobody has said anything."""
        now_s = self._clock_s()
        if self._beliefs and now_s >= self._shown_until_s:
            half_life_s = self.half_life_s
            self._shown = {key: belief.at(now_s, half_life_s).mean for key, belief in self._beliefs.items()}
            self._shown_until_s = now_s + _REFRESH_S
        return self._shown


def _sound(feedback: Feedback) -> bool:
    return 0 <= feedback.quality <= 1 and 0 <= (feedback.prior or 0) <= 1 and 0 < feedback.weight <= 1
