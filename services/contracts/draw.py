"""Chance that can be checked: a number made of a request's id, so that every process draws alike. Pure."""

from __future__ import annotations

import hashlib

_SPARE_BITS = 11  # a float holds 53 bits of the 64


def draw(id_: str, purpose: str) -> float:
    """A number in [0, 1), evenly spread over ids. Draws for different purposes are independent of each other.

    Args:
        purpose: at most 16 bytes.
    """
    digest = hashlib.blake2b(id_.encode("utf-8", "replace"), digest_size=8, person=purpose.encode()).digest()
    return (int.from_bytes(digest) >> _SPARE_BITS) / (1 << (64 - _SPARE_BITS))
