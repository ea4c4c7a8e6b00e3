"""How many instances a component should have, from what its instances say of themselves. Pure: one step of a rule.

Up at once when requests wait, by as many as would take them; down by one after a calm minute; to none after `idle_s`.

Source: the stabilisation window is that of the Kubernetes HorizontalPodAutoscaler.
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.contracts.beat import Beat
from services.contracts.catalog import Replicas

UP_AFTER_S = 1.0
DOWN_AFTER_S = 60.0
_BUSY_SHARE = 0.8
_CALM_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered of a component between two looks. Times are seconds of one monotonic clock; 0: not so now."""

    wanted: int
    pressed_since_s: float = 0.0
    calm_since_s: float = 0.0
    idle_since_s: float = 0.0


def step(watched: Watched, beats: Sequence[Beat], bounds: Replicas, now_s: float) -> Watched:
    """One look at a component.

    Args:
        watched: as the last look left it; `wanted` is the number in force.
        beats: of its instances that serve.
    """
    if not beats or bounds.min == bounds.max:
        return replace(watched, pressed_since_s=0.0, calm_since_s=0.0, idle_since_s=0.0)
    slots = sum(beat.slots for beat in beats)
    work = sum(beat.in_use + beat.queued for beat in beats)
    queued = sum(beat.queued for beat in beats)
    per_instance = slots / len(beats)
    pressed_s = _since(watched.pressed_since_s, now_s, so=queued > 0 or work >= _BUSY_SHARE * slots)
    smaller = slots - per_instance
    calm_s = _since(watched.calm_since_s, now_s, so=len(beats) > 1 and work <= _CALM_SHARE * smaller)
    idle_s = _since(watched.idle_since_s, now_s, so=work == 0)
    wanted = watched.wanted
    if pressed_s and now_s - pressed_s >= UP_AFTER_S and len(beats) >= wanted:
        wanted = max(wanted + (queued > 0 or wanted == len(beats)), math.ceil(work / (per_instance * _BUSY_SHARE)))
        pressed_s = 0.0
    elif calm_s and now_s - calm_s >= DOWN_AFTER_S:
        wanted, calm_s = wanted - 1, now_s
    if bounds.min == 0 and idle_s and now_s - idle_s >= bounds.idle_s:
        wanted = 0
    wanted = min(max(wanted, bounds.min if wanted == 0 else max(1, bounds.min)), bounds.max)
    return Watched(wanted, pressed_s, calm_s, idle_s)


def _since(before_s: float, now_s: float, *, so: bool) -> float:
    return (before_s or now_s) if so else 0.0
