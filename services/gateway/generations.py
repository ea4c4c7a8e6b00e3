"""The generations of each component, put together from the beats of their instances. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from services.contracts.beat import Beat


class Generation(msgspec.Struct, frozen=True):
    """The instances that were built from one configuration of a component.

    Attributes:
        states: how many instances are in which state.
        share: of the component's requests, while an older generation serves beside it; 1 where it is not on trial.
        in_use: requests being worked on.
        draining_s: how long the first of its instances that leave has been at it; None where none leaves.
    """

    component: str
    generation: int
    states: dict[str, int]
    share: float
    in_use: int
    draining_s: float | None = None


def generations(beats: Iterable[Beat], now_s: float) -> list[Generation]:
    """Those that live, by component and age. `now_s`: seconds since the epoch."""
    found: dict[tuple[str, int], list[Beat]] = {}
    for beat in beats:
        found.setdefault((beat.component, beat.generation), []).append(beat)
    return [
        Generation(
            component=component,
            generation=generation,
            states=dict(Counter(beat.state for beat in members)),
            share=min(beat.share for beat in members),
            in_use=sum(beat.in_use for beat in members),
            draining_s=max((s for beat in members if (s := draining_s(beat, now_s)) is not None), default=None),
        )
        for (component, generation), members in sorted(found.items())
    ]


def draining_s(beat: Beat, now_s: float) -> float | None:
    """For how long an instance has been finishing what it does; None for one that does not leave."""
    if beat.state != "draining" or not beat.since_s:
        return None
    return round(max(0.0, now_s - beat.since_s), 3)
