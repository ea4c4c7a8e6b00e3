from __future__ import annotations

import contextlib
import math
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.tools.arithmetic import calculate
from agents.tools.numbers import CannotCalculate, NoValue

_Tree = tuple[str, Fraction]


def _number(pair: tuple[int, int]) -> _Tree:
    whole, places = pair
    text = str(whole)
    if places:
        text = text.rjust(places + 1, "0")
        text = f"{text[:-places]}.{text[-places:]}"
    return text, Fraction(whole, 10**places)


def _joined(parts: tuple[_Tree, str, _Tree]) -> _Tree:
    (left, a), sign, (right, b) = parts
    value = {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b if b else a}[sign]()
    if sign == "/" and not b:
        return left, a
    return f"({left} {sign} {right})", value


_TREES = st.recursive(
    st.tuples(st.integers(0, 10**9), st.integers(0, 6)).map(_number),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(_joined),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(_TREES)
def test_value_is_that_of_fractions(tree: _Tree) -> None:
    expression, value = tree
    result = calculate(expression)
    if result.rounded:
        assert math.isclose(float(result.text), float(value), rel_tol=1e-11)
    else:
        assert Fraction(result.text) == value


@settings(max_examples=100, deadline=None)
@given(st.integers(-(10**40), 10**40), st.integers(-(10**40), 10**40))
def test_whole_numbers_are_exact_at_any_size(a: int, b: int) -> None:
    assert calculate(f"({a}) * ({b}) - ({a})").text == str(a * b - a)
    if b:
        assert calculate(f"({a}) // ({b})").text == str(a // b)
        assert calculate(f"({a}) mod ({b})").text == str(a % b)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789.,+-*/%^!()eExXofmd sqrtpi√²$ ", max_size=60))
def test_no_text_does_worse_than_an_error(text: str) -> None:
    begun = time.monotonic()
    with contextlib.suppress(CannotCalculate):
        calculate(text)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("expression", "text", "rounded"),
    [
        ("23.7 * 19 + 4", "454.3", False),
        ("17.5% of 2340", "409.5", False),
        ("0.1 + 0.2", "0.3", False),
        ("1/3", "0.333333333333", True),
        ("1/8", "0.125", False),
        ("2^10", "1024", False),
        ("2**-2", "0.25", False),
        ("-2^2", "-4", False),
        ("(-2)^2", "4", False),
        ("2^3^2", "512", False),
        ("7 // 2", "3", False),
        ("-7 % 3", "2", False),
        ("7 % 3", "1", False),
        ("50%", "0.5", False),
        ("50% * 3", "1.5", False),
        ("5!", "120", False),
        ("3!!", "720", False),
        ("sqrt(144)", "12", False),
        ("√2", "1.41421356237", True),
        ("8^(1/3)", "2", False),
        ("0.25^0.5", "0.5", False),
        ("32^0.4", "4", False),
        ("1,234,567.5 + 1", "1234568.5", False),
        ("1e3 + 1", "1001", False),
        ("3 × 4 ÷ 6 − 1", "1", False),  # noqa: RUF001 - signs as people type them
        ("12 x 12", "144", False),
        ("$45.50 * 3", "136.5", False),
        ("abs(-3) + floor(2.7) + ceil(2.1)", "8", False),
        ("2 * pi", "6.28318530718", True),
        ("10^30 / 3", "3.33333333333e29", True),
        ("1 / 10^30 / 3", "3.33333333333e-31", True),
        ("2^0.5 * 2^0.5", "2", True),
        ("1^999999999999", "1", False),
        ("(-1)^999999999999", "-1", False),
        ("0^0", "1", False),
        ("3²", "9", False),
    ],
)
def test_known_values(expression: str, text: str, rounded: bool) -> None:
    assert calculate(expression) == (text, rounded)


def test_very_long_results_are_written_in_full() -> None:
    assert calculate("3000!").text == _long(math.factorial(3000))
    assert calculate("2^20000 - 1").text == _long(2**20000 - 1)


def _long(number: int) -> str:
    """Without Python's limit on the digits of one conversion."""
    low, text = 10**1000, ""
    while number:
        number, part = divmod(number, low)
        text = str(part).rjust(1000, "0") + text
    return text.lstrip("0")


VALUELESS = """1/0|5 % 0|7 // 0|0^-1|(-8)^(1/2)|sqrt(-1)|9^9^9^9|10^100000|(2.5)!|(-1)!|99999!|2^(10^9 + 1/2)|\
(3000!)^100|1.5^-99999999|sqrt(2)^(10^20)"""


@pytest.mark.parametrize("expression", VALUELESS.split("|"))
def test_what_has_no_value_says_so_at_once(expression: str) -> None:
    begun = time.monotonic()
    with pytest.raises(NoValue):
        calculate(expression)
    assert time.monotonic() - begun < 3


UNCLEAR = """|1 +|(1|1)|1 2|2(3)|6/2(1+2)|1,5|1,2345|1.2.3|200 + 10%|10% - 3|0x10|3 of 5|$1 + €1|__import__('os')|a|\
1;2|1 = 1|sqrt 2 3|import os|٣ + 1|lambda: 1|[1]|1 if 1 else 2|sqrt|pi()|5 of|1..2|e^2"""
HUGE = (
    "1" * 1001,
    "(" * 50 + "1" + ")" * 50,
    "-" * 50 + "1",
    "1" + "+1" * 450,
    "2^" * 100 + "2",
    "9" * 900 + "." + "9" * 99 + "9",
)


@pytest.mark.parametrize("expression", [*UNCLEAR.split("|"), *HUGE])
def test_what_is_no_clear_expression_is_refused(expression: str) -> None:
    with pytest.raises(CannotCalculate):
        calculate(expression)
