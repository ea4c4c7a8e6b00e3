"""How long to wait before starting again what has died. Pure: time and chance come from outside."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_S = 0.2
LONGEST_S = 10.0
STABLE_AFTER_S = 30.0
_FACTOR = 2.0
_SPREAD = 0.25


@dataclass(frozen=True, slots=True)
class Backoff:
    """The state between two deaths of one instance.

    Attributes:
        deaths: in a row, without `STABLE_AFTER_S` of life between them.
    """

    deaths: int = 0

    def died(self, lived_s: float) -> Backoff:
        """The state after one more death; a long life before it forgives the earlier ones."""
        return Backoff(1 if lived_s >= STABLE_AFTER_S else self.deaths + 1)

    def delay_s(self, chance: float) -> float:
        """The wait before the next start: doubling, bounded, spread by a quarter either way.

        The spread keeps instances that died together from coming back together.

        Args:
            chance: uniform in 0..1.
        """
        if self.deaths == 0:
            return 0.0
        # The exponent is bounded as well: 2.0 ** 1100 is no float.
        middle_s = min(LONGEST_S, FIRST_S * _FACTOR ** min(self.deaths - 1, 16))
        return middle_s * (1 - _SPREAD + 2 * _SPREAD * chance)
