"""A circuit breaker: an upstream that keeps failing is left alone for a while, then tried with one request.

    closed --(`threshold` failures in a row)--> open --(`open_s` later)--> half-open --(success)--> closed
                                                  ^------(failure: twice as long)----'

A pure state machine: no I/O, no timers; time comes from the clock it is given.
Source: M. Nygard, "Release It!", 2nd edition, chapter 5.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from services.contracts.errors import ComponentUnavailable

BreakerState = Literal["closed", "open", "half-open"]


class Permit(NamedTuple):
    """Leave to send one request. Hand it back with what became of it, once."""

    era: int
    probe: bool


class Breaker:
    """Counts failures in a row. Every change of state begins a new era; what belongs to an old one no longer counts.

    Attributes:
        reason: of the last failure, for operators.
    """

    def __init__(
        self,
        clock_s: Callable[[], float] = time.monotonic,
        *,
        threshold: int = 5,
        open_s: float = 5.0,
        open_max_s: float = 60.0,
    ) -> None:
        self._clock_s = clock_s
        self._threshold = threshold
        self._least_open_s = open_s
        self._open_max_s = open_max_s
        self._open_s = open_s
        self._failures = 0
        self._open_until_s: float | None = None
        self._probing = False
        self._era = 0
        self.reason = ""

    @property
    def state(self) -> BreakerState:
        """The state now."""
        if self._open_until_s is None:
            return "closed"
        return "open" if self._clock_s() < self._open_until_s else "half-open"

    @property
    def retry_after_s(self) -> float:
        """Seconds until the next request is let through; 0 if one would be now."""
        if self._open_until_s is None:
            return 0.0
        return max(0.0, self._open_until_s - self._clock_s())

    def admit(self) -> Permit:
        """Leave to send a request now.

        Raises:
            ComponentUnavailable: the circuit is open, or its one probe is on its way. Says when to retry.
        """
        if self._open_until_s is None:
            return Permit(self._era, probe=False)
        wait_s = self.retry_after_s
        if wait_s > 0 or self._probing:
            raise ComponentUnavailable(
                f"the upstream keeps failing ({self.reason}); it is left alone for now",
                retry_after_s=max(wait_s, 0.5),
            )
        self._probing = True
        return Permit(self._era, probe=True)

    def again(self) -> Permit:
        """A permit to report on a request that had been reported as a success too early."""
        return Permit(self._era, probe=False)

    def success(self, permit: Permit) -> None:
        """The upstream did its part."""
        if permit.era != self._era:
            return
        self._failures = 0
        if permit.probe:
            self.reset()

    def failure(self, permit: Permit, reason: str) -> None:
        """The upstream did not do its part."""
        if permit.era != self._era:
            return
        self.reason = reason
        self._failures += 1
        if permit.probe:
            self._open(min(self._open_s * 2, self._open_max_s))
        elif self._failures >= self._threshold and self._open_until_s is None:
            self._open(self._least_open_s)

    def forget(self, permit: Permit) -> None:
        """Nothing was learned: the request was cancelled, or says nothing of the upstream's health."""
        if permit.era == self._era and permit.probe:
            self._probing = False

    def reset(self) -> None:
        """Close the circuit: something has changed for the better."""
        self._era += 1
        self._failures = 0
        self._open_until_s = None
        self._probing = False

    def _open(self, open_s: float) -> None:
        self._era += 1
        self._open_s = open_s
        self._open_until_s = self._clock_s() + open_s
        self._probing = False
