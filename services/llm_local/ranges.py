"""Grammars for integers between two bounds, digit by digit. Pure."""

from __future__ import annotations


def integers(low: int | None, high: int | None, *, digits: int = 16) -> str:
    """A GBNF expression for the decimal integers from `low` to `high`, both included.

    Args:
        low: None: no bound.
        high: None: no bound.
        digits: the most digits of an unbounded side.

    Raises:
        ValueError: there are none.
    """
    limit = 10**digits - 1
    low = -limit if low is None else max(low, -limit)
    high = limit if high is None else min(high, limit)
    if low > high:
        raise ValueError("no integer lies between the bounds")
    parts: list[str] = []
    if low < 0:
        parts += [f'"-" ({_naturals(max(1, -high), -low)})']
    if high >= 0:
        parts += [_naturals(max(0, low), high)]
    return " | ".join(parts)


def _naturals(low: int, high: int) -> str:
    """Integers of equal length are compared digit by digit; each length has its own alternative."""
    parts: list[str] = []
    while low <= high:
        end = min(high, 10 ** len(str(low)) - 1)
        parts.append(_equal_length(str(low), str(end)))
        low = end + 1
    return " | ".join(parts)


def _equal_length(low: str, high: str) -> str:
    if not low:
        return '""'
    rest = len(low) - 1
    if low == high:
        return f'"{low}"'
    if low[1:] == "0" * rest and high[1:] == "9" * rest:
        return f"{_digit(low[0], high[0])}{_any(rest)}"
    if low[0] == high[0]:
        return f'"{low[0]}" ({_equal_length(low[1:], high[1:])})'
    parts = [f'"{low[0]}" ({_equal_length(low[1:], "9" * rest)})']
    first, last = chr(ord(low[0]) + 1), chr(ord(high[0]) - 1)
    if first <= last:
        parts.append(f"{_digit(first, last)}{_any(rest)}")
    parts.append(f'"{high[0]}" ({_equal_length("0" * rest, high[1:])})')
    return " | ".join(parts)


def _digit(first: str, last: str) -> str:
    return f'"{first}"' if first == last else f"[{first}-{last}]"


def _any(count: int) -> str:
    return "" if count == 0 else " [0-9]" if count == 1 else f" [0-9]{{{count}}}"
