"""Exact numbers: what a calculation works on, within limits that keep every step quick, and how a result is written."""

from __future__ import annotations

import math
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import NamedTuple

MAX_BITS = 40_000  # of a numerator or denominator: about 12,000 decimal digits
MAX_FACTORIAL = 3000
SIGNIFICANT_DIGITS = 12
_WORKING_DIGITS = 50
_MAX_WRITTEN_DIGITS = 60  # of a finite decimal; longer ones are rounded
_PLAIN_EXPONENT = 20  # beyond it a rounded number is written with an exponent
_DIGITS_AT_ONCE = 4000  # Python refuses to write an int of more than 4300 digits in one go
_WORKING = Context(prec=_WORKING_DIGITS, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN)


class CannotCalculate(ValueError):
    """The expression is none, or has no clear meaning, or no value. Says which."""


class NoValue(CannotCalculate):
    """Well formed, but without a value: a division by zero, a root of a negative number, or too large."""


class Number(NamedTuple):
    """A value, and whether it is exactly that. An inexact one is right to about 50 digits."""

    value: Fraction
    exact: bool = True


PI = Number(Fraction("3.14159265358979323846264338327950288419716939937510582097494459"), exact=False)


def checked(value: Fraction, *, exact: bool) -> Number:
    """A number, if it is small enough.

    Raises:
        NoValue: it is not.
    """
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise NoValue("the result is too large")
    return Number(value, exact)


def power(base: Number, exponent: Number) -> Number:
    """`base` to the power of `exponent`; exact where the result is rational.

    Raises:
        NoValue: no real value, or too large.
    """
    exact = base.exact and exponent.exact
    if base.value == 0 and exponent.value < 0:
        raise NoValue("division by zero")
    if exponent.value.denominator == 1:
        times = exponent.value.numerator
        size = max(base.value.numerator.bit_length(), base.value.denominator.bit_length())
        if base.value not in (0, 1, -1) and (size - 1) * abs(times) > MAX_BITS:
            raise NoValue("the result is too large")
        if base.value in (0, 1, -1):  # whatever the exponent, the answer is immediate
            times = times % 2 + 2 if times else 0
        return checked(base.value**times, exact=exact)
    if base.value < 0:
        raise NoValue("a negative number has no real power of that kind")
    degree = exponent.value.denominator
    if exact and degree <= MAX_BITS:
        roots = (_root(base.value.numerator, degree), _root(base.value.denominator, degree))
        if roots[0] is not None and roots[1] is not None:
            return power(Number(Fraction(roots[0], roots[1])), Number(Fraction(exponent.value.numerator)))
    if base.value == 0:
        return Number(Fraction(0), exact)
    magnitude = abs(float(exponent.value)) * abs(_log2(base.value)) if abs(exponent.value) < MAX_BITS else MAX_BITS + 1
    if magnitude > MAX_BITS:
        raise NoValue("the result is too large")
    logarithm = _WORKING.multiply(_WORKING.ln(_decimal(base.value)), _decimal(exponent.value))
    return checked(Fraction(_WORKING.exp(logarithm)), exact=False)


def factorial(of: Number) -> Number:
    """n!.

    Raises:
        NoValue: not a whole number from 0 to 3000.
    """
    if of.value.denominator != 1 or not 0 <= of.value <= MAX_FACTORIAL or not of.exact:
        raise NoValue(f"factorials are for whole numbers from 0 to {MAX_FACTORIAL}")
    return Number(Fraction(math.factorial(of.value.numerator)))


def written(number: Number) -> tuple[str, bool]:
    """The number in digits, and whether it had to be rounded to 12 significant ones."""
    value = number.value
    if number.exact and value.denominator == 1:
        return _digits(value.numerator), False
    if number.exact and (places := _places(value.denominator)) is not None:
        whole = abs(value.numerator) * 10**places // value.denominator
        if whole < 10**_MAX_WRITTEN_DIGITS:
            text = str(whole).rjust(places + 1, "0")
            return f"{'-' if value < 0 else ''}{text[:-places]}.{text[-places:]}", False
    rounded = Context(prec=SIGNIFICANT_DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN).plus(_decimal(value)).normalize()
    plain = -_PLAIN_EXPONENT < rounded.adjusted() < _PLAIN_EXPONENT
    return format(rounded, "f") if plain else str(rounded).replace("E+", "e").replace("E", "e"), True


def _digits(number: int) -> str:
    if number < 0:
        return f"-{_digits(-number)}"
    parts: list[str] = []
    step = 10**_DIGITS_AT_ONCE
    while number >= step:
        number, low = divmod(number, step)
        parts.append(str(low).rjust(_DIGITS_AT_ONCE, "0"))
    return str(number) + "".join(reversed(parts))


def _places(denominator: int) -> int | None:
    """Decimal places of a fraction with this denominator, or None if they never end."""
    twos = (denominator & -denominator).bit_length() - 1
    odd, fives = denominator >> twos, 0
    while odd % 5 == 0:
        odd //= 5
        fives += 1
    return max(twos, fives) if odd == 1 else None


def _root(number: int, degree: int) -> int | None:
    """The whole `degree`th root of a number from 0 up, or None."""
    if number < 2:  # noqa: PLR2004 - 0 and 1 are their own roots
        return number
    if degree == 2:  # noqa: PLR2004 - a square root has a function of its own
        root = math.isqrt(number)
    else:
        low, high = 1, 1 << (number.bit_length() // degree + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**degree <= number else (low, middle - 1)
        root = low
    return root if root**degree == number else None


def _log2(value: Fraction) -> float:
    return math.log2(value.numerator) - math.log2(value.denominator)


def _decimal(value: Fraction) -> Decimal:
    return _WORKING.divide(Decimal(value.numerator), Decimal(value.denominator))
