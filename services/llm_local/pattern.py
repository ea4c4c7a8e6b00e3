"""A regular expression as a grammar for the inside of a JSON string. Pure.

What comes out matches the whole string, also where the pattern asks for a part only: every answer is then valid, though
not every valid answer is possible.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable
from re import _constants as sre  # the parser behind `re` has no public name
from re import _parser as sre_parser
from typing import Any

MAX_PATTERN_CHARS = 512
MAX_REPEAT = 1000
ANY_CHAR = (
    r'([^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-Ce-fE-F] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2})))'
)

_Span = tuple[int, int]
_LAST = 0x10FFFF
_CATEGORIES: dict[Any, list[_Span]] = {
    sre.CATEGORY_DIGIT: [(0x30, 0x39)],
    sre.CATEGORY_WORD: [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    sre.CATEGORY_SPACE: [(0x09, 0x0D), (0x20, 0x20)],
}
_NEGATED = {
    sre.CATEGORY_NOT_DIGIT: sre.CATEGORY_DIGIT,
    sre.CATEGORY_NOT_WORD: sre.CATEGORY_WORD,
    sre.CATEGORY_NOT_SPACE: sre.CATEGORY_SPACE,
}


def to_grammar(pattern: str) -> str:
    """A GBNF expression for JSON strings' insides that match `pattern`.

    Raises:
        ValueError: the pattern is not a regular expression, too large, or uses what a grammar cannot say.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"a pattern may have {MAX_PATTERN_CHARS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = sre_parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    items = list(tree)
    if items and items[0] in ((sre.AT, sre.AT_BEGINNING), (sre.AT, sre.AT_BEGINNING_STRING)):
        items = items[1:]
    if items and items[-1] in ((sre.AT, sre.AT_END), (sre.AT, sre.AT_END_STRING)):
        items = items[:-1]
    return _sequence(items)


def _sequence(items: Iterable[tuple[Any, Any]]) -> str:
    return " ".join(part for item in items if (part := _item(*item))) or '""'


def _item(kind: Any, what: Any) -> str:
    if kind is sre.LITERAL:
        return _spans([(what, what)])
    if kind is sre.NOT_LITERAL:
        return _spans(_without([(what, what)]))
    if kind is sre.ANY:
        return _spans(_without([(0x0A, 0x0A), (0x0D, 0x0D)]))
    if kind is sre.IN:
        return _spans(_set(what))
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        low, high, inner = what
        return f"({_sequence(inner)}){_count(low, high)}"
    if kind is sre.SUBPATTERN:
        return f"({_sequence(what[3])})"
    if kind is sre.BRANCH:
        return "(" + " | ".join(_sequence(branch) for branch in what[1]) + ")"
    raise ValueError(f"a grammar cannot say {str(kind).lower()}")


def _count(low: int, high: Any) -> str:
    if low > MAX_REPEAT:
        raise ValueError(f"more than {MAX_REPEAT} repetitions")
    if high is sre.MAXREPEAT:
        return {0: "*", 1: "+"}.get(int(low), f"{{{low},}}")
    return f"{{{low},{min(int(high), MAX_REPEAT)}}}"


def _set(members: Iterable[tuple[Any, Any]]) -> list[_Span]:
    spans: list[_Span] = []
    negate = False
    for kind, what in members:
        if kind is sre.NEGATE:
            negate = True
        elif kind is sre.LITERAL:
            spans.append((what, what))
        elif kind is sre.RANGE:
            spans.append(what)
        elif kind is sre.CATEGORY and what in _CATEGORIES:
            spans += _CATEGORIES[what]
        elif kind is sre.CATEGORY and what in _NEGATED:
            spans += _without(_CATEGORIES[_NEGATED[what]])
        else:
            raise ValueError(f"a grammar cannot say {str(kind).lower()} in a set")
    return _without(spans) if negate else spans


def _without(spans: list[_Span]) -> list[_Span]:
    """Every character but these."""
    result: list[_Span] = []
    at = 0x20
    for low, high in sorted(spans):
        if low > at:
            result.append((at, low - 1))
        at = max(at, high + 1)
    if at <= _LAST:
        result.append((at, _LAST))
    return result


_ESCAPED = [0x22, 0x5C, 0x7F, *range(0x20)]  # these cannot stand in a JSON string as they are


def _spans(spans: list[_Span]) -> str:
    """Characters as they stand in a JSON string: a class for most, escapes for the few that need one."""
    plain: list[str] = []
    escapes: list[str] = []
    for low, high in spans:
        at = low
        for code in sorted(code for code in _ESCAPED if low <= code <= high):
            if code > at:
                plain.append(_span(at, code - 1))
            escapes.append(literal(json.dumps(chr(code))[1:-1]))
            at = code + 1
        if at <= high:
            plain.append(_span(at, high))
    parts = ([f"[{''.join(plain)}]"] if plain else []) + escapes
    if not parts:
        raise ValueError("a set without members")
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


def _span(low: int, high: int) -> str:
    return _code(low) if low == high else f"{_code(low)}-{_code(high)}"


def _code(code: int) -> str:
    return f"\\U{code:08X}"


def literal(text: str) -> str:
    """A GBNF literal of any text."""
    return '"' + "".join(_LITERAL_ESCAPES.get(char, char) for char in text) + '"'


_LITERAL_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
