"""Number words in English: "twelve", "one hundred and five", "2.5 million". Pure."""

from __future__ import annotations

_SMALL = """zero one two three four five six seven eight nine ten
eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"""
_ROUND = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_SMALL.split())}
_TENS = {word: 10 * value for value, word in enumerate(_ROUND.split(), start=2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_TEN = 10

NUMBER_WORDS = frozenset((*_UNITS, *_TENS, *_SCALES, "hundred"))


def read_number(words: list[str], start: int) -> tuple[int, int] | None:
    """The number that begins at `start` and the place after it, or None if none does. Takes as many words as it can."""
    total = group = 0
    at = start
    fresh = True  # the next word may still be a unit or a ten
    least_scale = None
    if _word(words, at) in ("a", "an") and _word(words, at + 1) in ("hundred", *_SCALES):
        group, fresh, at = 1, False, at + 1
    while True:
        word = _word(words, at)
        if word == "and" and _hundred_before(words, at, start) and _is_small(_word(words, at + 1)):
            at += 1
            continue
        if fresh and word in _UNITS:
            group, fresh = group + _UNITS[word], False
        elif fresh and word in _TENS and group % 100 == 0:
            group, fresh = group + _TENS[word], False
            if 0 < _UNITS.get(_word(words, at + 1), 0) < _TEN:
                at += 1
                group += _UNITS[words[at]]
        elif word == "hundred" and 0 < group < _TEN:
            group, fresh = group * 100, True
        elif word in _SCALES and group > 0 and (least_scale is None or _SCALES[word] < least_scale):
            least_scale = _SCALES[word]
            total, group, fresh = total + group * least_scale, 0, True
        else:
            break
        at += 1
    return (total + group, at) if at > start else None


def scale_of(word: str) -> int | None:
    """What a word after a number in digits multiplies it by."""
    return _SCALES.get(word)


def _word(words: list[str], at: int) -> str:
    return words[at] if at < len(words) else ""


def _hundred_before(words: list[str], at: int, start: int) -> bool:
    return at > start and (words[at - 1] == "hundred" or words[at - 1] in _SCALES)


def _is_small(word: str) -> bool:
    return word in _UNITS or word in _TENS
