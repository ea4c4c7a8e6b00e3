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
SCALARS = 18
_TOKEN = re.compile(r"\w+|[^\w\s]")
_DIGITS = str.maketrans("123456789", "000000000")
_PAIR = np.uint32(0x9E3779B1)
_ROLL = np.uint32(0x01000193)
_MIX = np.uint32(0x85EBCA6B)
_MATH = frozenset("+-*/=^%<>√∑∫π²³×÷")  # noqa: RUF001 - these signs are the point
_CODE = frozenset("{}[]();_#`\\|&$@")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def grams(text: str, buckets: int) -> tuple[Ints, Floats, Ints, Floats]:
    """(word buckets, their weights, character buckets, their weights); weights are 1 + ln(count).

    Words fall into [0, buckets / 2), characters into [buckets / 2, buckets).
    """
    plain = text.lower().translate(_DIGITS)
    half = buckets // 2
    words = np.array([zlib.crc32(token.encode("utf-8", "replace")) for token in _TOKEN.findall(plain)], dtype=np.uint32)
    chars = np.frombuffer(f" {' '.join(plain.split())} ".encode("utf-32-le", "replace"), dtype=np.uint32)
    word_at, word_tf = _counted([words, words[:-1] * _PAIR + words[1:]], half)
    char_at, char_tf = _counted(_rolled(chars), half)
    return word_at, word_tf, char_at + half, char_tf


def _rolled(chars: npt.NDArray[np.uint32]) -> list[npt.NDArray[np.uint32]]:
    """Hashes of every run of `CHAR_GRAMS` characters."""
    hashes: list[npt.NDArray[np.uint32]] = []
    run = chars
    for length in range(2, max(CHAR_GRAMS) + 1):
        if len(chars) < length:
            break
        run = run[: len(chars) - length + 1] * _ROLL ^ chars[length - 1 :] * _PAIR
        if length in CHAR_GRAMS:
            hashes.append(run + np.uint32(length))
    return hashes


def _counted(hashes: list[npt.NDArray[np.uint32]], buckets: int) -> tuple[Ints, Floats]:
    if not hashes:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    joined = np.concatenate(hashes)
    mixed = (joined ^ joined >> np.uint32(15)) * _MIX
    counts = np.bincount((mixed ^ mixed >> np.uint32(13)) % np.uint32(buckets), minlength=buckets)
    at = np.flatnonzero(counts)
    return at, (1.0 + np.log(counts[at])).astype(np.float32)


def scalars(features: Features) -> Floats:
    """Counts and shares, each roughly within 0..2. Their order is part of the weights file."""
    text = features.text
    length = max(len(text), 1)
    plain = text.translate(_DIGITS)
    digits = plain.count("0")
    numbers = len(re.findall(r"0[0.,]*", plain))
    math_signs = sum(text.count(sign) for sign in _MATH)
    code_signs = sum(text.count(sign) for sign in _CODE)
    words = max(len(text.split()), 1)
    lines = text.count("\n")
    upper = sum(map(str.isupper, text))
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
            (length - len(text.encode("ascii", "ignore"))) / length * 4.0,
            min(features.turns, 8) / 8.0,
            float(features.has_tools),
            float(features.wants_json),
            float(features.has_images),
        ],
        dtype=np.float32,
    )
