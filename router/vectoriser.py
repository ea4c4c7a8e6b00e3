"""Text to a sparse vector, in numpy alone: hashed words, word pairs, runs of 3 and 5 characters, and counts.

Digits are read as one digit, so that what is learnt from one sum holds for another. Hashes are fixed (CRC-32 and a
multiplicative rolling hash), so weights trained on one machine mean the same on every other.

Source: feature hashing, Weinberger et al. 2009 (https://arxiv.org/abs/0902.2206).
"""

from __future__ import annotations

import re
import zlib

import numpy as np
import numpy.typing as npt

from router.features import Features

CHAR_GRAMS = (3, 5)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"0[0.,]*")
_DIGITS = str.maketrans("123456789", "000000000")
_PAIR = np.uint32(0x9E3779B1)
_ROLL = np.uint32(0x01000193)
_MIX = np.uint32(0x85EBCA6B)
_MATH = frozenset("+-*/=^%<>√∑∫π²³×÷")  # noqa: RUF001 - these signs are the point
_CODE = frozenset("{}[]();_#`\\|&$@")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def grams(text: str, buckets: int) -> tuple[Ints, Floats, int]:
    """(buckets in ascending order, their weights, how many of them are of words); weights are 1 + ln(count).

    Words and pairs of words fall into [0, buckets / 2), runs of characters into [buckets / 2, buckets).
    """
    plain = text.lower().translate(_DIGITS)
    half = buckets // 2
    words = np.array([zlib.crc32(token.encode("utf-8", "replace")) for token in _TOKEN.findall(plain)], dtype=np.uint32)
    chars = np.frombuffer(f" {' '.join(plain.split())} ".encode("utf-32-le", "replace"), dtype=np.uint32)
    hashes = np.concatenate([words, words[:-1] * _PAIR + words[1:], *_rolled(chars)])
    mixed = (hashes ^ hashes >> np.uint32(15)) * _MIX
    at = ((mixed ^ mixed >> np.uint32(13)) % np.uint32(half)).astype(np.int64)
    at[max(2 * len(words) - 1, 0) :] += half
    if not len(at):
        return at, np.empty(0, np.float32), 0
    at.sort()  # on a few hundred hashes quicker than to count into all the buckets
    is_last = np.ones(len(at), dtype=bool)
    np.not_equal(at[1:], at[:-1], out=is_last[:-1])
    ends = np.flatnonzero(is_last)
    counts = ends + 1
    counts[1:] -= counts[:-1].copy()
    found = at[ends]
    return found, (1.0 + np.log(counts)).astype(np.float32), int(np.searchsorted(found, half))


def _rolled(chars: npt.NDArray[np.uint32]) -> list[npt.NDArray[np.uint32]]:
    """Hashes of every run of `CHAR_GRAMS` characters."""
    hashes: list[npt.NDArray[np.uint32]] = []
    run, mixed = chars, chars * _PAIR
    for length in range(2, max(CHAR_GRAMS) + 1):
        if len(chars) < length:
            break
        run = run[: len(chars) - length + 1] * _ROLL ^ mixed[length - 1 :]
        if length in CHAR_GRAMS:
            hashes.append(run + np.uint32(length))
    return hashes


def scalars(features: Features) -> Floats:
    """Counts and shares, each roughly within 0..2. Their order is part of the weights file."""
    text = features.text
    length = max(len(text), 1)
    plain = text.translate(_DIGITS)
    digits = plain.count("0")
    numbers = len(_NUMBER.findall(plain))
    math_signs = sum(text.count(sign) for sign in _MATH)
    code_signs = sum(text.count(sign) for sign in _CODE)
    words = max(len(text.split()), 1)
    lines = text.count("\n")
    letters = np.frombuffer(text.encode("ascii", "ignore"), dtype=np.uint8)
    upper = np.count_nonzero(letters - np.uint8(65) < 26)  # noqa: PLR2004 - A to Z; below A it wraps round
    return np.array(
        [
            1.0,
            np.log1p(features.prompt_chars) / 6.0,
            np.log1p(length) / 6.0,
            min(length / 200.0, 2.0),
            digits / length * 4.0,
            min(numbers / 6.0, 2.0),
            min(math_signs / length * 20.0, 2.0),
            min(code_signs / length * 20.0, 2.0),
            min(text.count("?") / 2.0, 2.0),
            float(text.rstrip().endswith("?")),
            np.log1p(lines) / 2.0,
            upper / length * 4.0,
            min(length / words / 6.0, 2.0),
            (length - len(letters)) / length * 4.0,
            min(features.turns, 8) / 8.0,
            float(features.has_tools),
            float(features.wants_json),
            float(features.has_images),
        ],
        dtype=np.float32,
    )
