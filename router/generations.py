"""Which generation of a component takes a request, where more than one serves. Pure.

The newest does, as soon as it serves. One that is on trial takes its share: which requests are in it is drawn from
their id, so that a request stays with one generation through retries, resumed streams and the questions of agents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from services.contracts.beat import Beat


def serving(beats: Iterable[Beat], draw: float, excluded: Collection[str] = ()) -> list[Beat]:
    """Of each component the instances of the one generation that is to take the request.

    Args:
        beats: instances that are ready.
        draw: of the request.
        excluded: instances that have failed it; with none of a generation left, another one takes it.
    """
    found: dict[str, dict[int, list[Beat]]] = {}
    for beat in beats:
        if beat.instance not in excluded:
            found.setdefault(beat.component, {}).setdefault(beat.generation, []).append(beat)
    return [beat for generations in found.values() for beat in _taking(generations, draw)]


def _taking(generations: dict[int, list[Beat]], draw: float) -> list[Beat]:
    for number in sorted(generations, reverse=True):
        members = generations[number]
        if draw < min(beat.share for beat in members):
            return members
    # Nobody but generations on trial, and the draw lies beyond their shares.
    return generations[max(generations)]
