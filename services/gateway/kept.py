"""What is known of many, and only so many of them. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def kept(known: OrderedDict[K, V], key: K, make: Callable[[], V], most: int) -> V:
    """What is known under a key, or a new one; who was not asked for longest makes room."""
    found = known.get(key)
    if found is None:
        found = known[key] = make()
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)
    return found
