"""Whether a model's answer is one, and whether its numbers are those of its tools. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|(?<![\w.])-?\d+(?:\.\d+)?|(?<![\w.])-?\.\d+")
_TAG, _OBJECT = re.compile(r"\s*<tool_"), re.compile(r"\s*(?:```\w*\s*)?\{")
_MARKS = re.compile(r"^\s*\d{1,2}[.)]\s|\[\d{1,2}\]", re.MULTILINE)  # of lists, and citations
_SMALL = frozenset(Decimal(n) for n in range(4))  # "both", "two steps": counting words, not results
_MAX_DIGITS = 60  # of a number that is compared by value; a longer one is compared digit by digit


def is_call(answer: str) -> bool:
    """Whether the answer is a tool call written out as text, which some models do when they may not call any more."""
    return _TAG.match(answer) is not None or (_OBJECT.match(answer) is not None and '"name"' in answer)


def numbers(text: str) -> list[str]:
    """The numbers in a text, as written but for thousands separators."""
    return [found.replace(",", "") for found in _NUMBER.findall(_MARKS.sub(" ", text))]


def unfounded(answer: str, sources: Iterable[str]) -> list[str]:
    """The numbers of `answer` that stand in none of `sources`, not even with more digits or as a percentage."""
    known = {number.lstrip("-") for source in sources for number in numbers(source)}
    values = {Decimal(number) for number in known if len(number) <= _MAX_DIGITS}
    return [number for number in numbers(answer) if not _founded(number.lstrip("-"), known, values)]


def _founded(number: str, known: set[str], values: set[Decimal]) -> bool:
    if number in known:
        return True
    if len(number) > _MAX_DIGITS:
        return False
    value = Decimal(number)
    if value in values or value in _SMALL or value / 100 in values or value * 100 in values:
        return True
    places = value.as_tuple().exponent
    # Rounded to fewer decimals than the tool gave is still the tool's number.
    return isinstance(places, int) and any(round(other, -places) == value for other in values if other != int(other))
