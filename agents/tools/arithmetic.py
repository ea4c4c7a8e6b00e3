"""An exact calculator: own tokens, own grammar, fractions inside. Python's `eval` is nowhere near it.

    sum     := product (("+" | "-") product)*
    product := signed (("*" | "/" | "//" | "%" | "mod" | "of") signed)*
    signed  := ("-" | "+") signed | power
    power   := postfix ["^" signed]                     so -2^2 is -4, and 2^3^2 is 2^9
    postfix := atom ("!" | "%")*                        "%" before an operand is the remainder, elsewhere per cent
    atom    := number | "pi" | "(" sum ")" | function "(" sum ")"

What could mean two things is an error and not a guess: 1,5 and 200 + 10% and 6/2(1+2).
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import NamedTuple

from agents.tools.numbers import PI, CannotCalculate, NoValue, Number, checked, factorial, power, written

MAX_CHARS = 1000
MAX_DEPTH = 40
MAX_TOKENS = 400
_FUNCTIONS = frozenset({"sqrt", "abs", "floor", "ceil", "factorial"})
_SAME = str.maketrans({"×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-"})  # noqa: RUF001
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d[\d_]*)(?:\.\d+)?(?:e[+-]?\d{1,4}(?![\w.]))?|\.\d+)"
    r"|(?P<word>[a-z]+)|(?P<sign>\*\*|//|[-+*/^%!()√]))",
    re.ASCII | re.IGNORECASE,
)
_MAX_NUMBER_CHARS = 1000
_OPERAND = frozenset({"number", "name", "("})


class _Token(NamedTuple):
    kind: str  # number, name, end, or the sign itself
    text: str


class Result(NamedTuple):
    """A value in digits. `rounded`: to 12 significant ones, because it has more, or no end of them."""

    text: str
    rounded: bool


def calculate(expression: str) -> Result:
    """The value of an expression.

    Raises:
        CannotCalculate: it is no expression, is ambiguous, or has no value.
    """
    return Result(*written(_Parser(tokens(expression)).whole()))


def is_expression(text: str) -> bool:
    """Whether `text` as a whole has the form of an expression; its value may still not exist."""
    try:
        calculate(text)
    except CannotCalculate as error:
        return isinstance(error, NoValue)
    return True


def tokens(text: str) -> list[_Token]:
    """Numbers, names and signs.

    Raises:
        CannotCalculate: there is something else in it.
    """
    if len(text) > MAX_CHARS:
        raise CannotCalculate(f"the expression is longer than {MAX_CHARS} characters")
    text = _without_currency(text.replace("²", "^2").replace("³", "^3").translate(_SAME)).strip()
    found: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise CannotCalculate(f"not part of an expression: {text[at : at + 20]!r}")
        if (number := match["number"]) is not None:
            if text[match.end() : match.end() + 1] in (",", "."):
                raise CannotCalculate(f"it is not clear which number this is: {text[at : at + 20].strip()!r}")
            if number == "0" and text[match.end() : match.end() + 1].lower() in ("x", "b", "o"):
                raise CannotCalculate("only decimal numbers")
            found.append(_Token("number", number.replace(",", "").replace("_", "")))
        elif (word := match["word"]) is not None:
            found.append(_word(word.lower()))
        else:
            sign = match["sign"]
            found.append(_Token({"**": "^", "√": "name"}.get(sign, sign), "sqrt" if sign == "√" else sign))
        at = match.end()
        if len(found) > MAX_TOKENS:
            raise CannotCalculate("the expression is too long")
    return [*found, _Token("end", "")]


def _word(word: str) -> _Token:
    if word in _FUNCTIONS or word == "pi":
        return _Token("name", word)
    if word in ("of", "x", "mod"):
        return _Token({"of": "of", "x": "*", "mod": "mod"}[word], word)
    raise CannotCalculate(f"not part of an expression: {word[:20]!r}")


def _without_currency(text: str) -> str:
    """Prices of one currency are numbers; two currencies make no sum."""
    signs = set(re.findall(r"[$€£¥]", text))
    if len(signs) > 1:
        raise CannotCalculate("more than one currency")
    return re.sub(r"[$€£¥]\s*(?=[\d.])|(?<=\d)\s*[$€£¥]", "", text) if signs else text


class _Parser:
    """Recursive descent that evaluates as it goes."""

    def __init__(self, found: list[_Token]) -> None:
        self._tokens = found
        self._at = 0
        self._depth = 0
        self._percent = False  # the value just read ends in a per cent sign

    def whole(self) -> Number:
        value = self._sum()
        if self._next.kind != "end":
            hint = "; write * for a product" if self._next.kind in _OPERAND else ""
            raise CannotCalculate(f"unexpected {self._next.text!r}{hint}")
        return value

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _sum(self) -> Number:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CannotCalculate("nested too deeply")
        value = self._product()
        while self._next.kind in ("+", "-"):
            first_percent = self._percent
            minus = self._take().kind == "-"
            other = self._product()
            if self._percent != first_percent:
                raise CannotCalculate("a per cent of what? Write 200 * 1.1, or 200 + 0.1")
            exact = value.exact and other.exact
            value = checked(value.value - other.value if minus else value.value + other.value, exact=exact)
        self._depth -= 1
        return value

    def _product(self) -> Number:
        value = self._signed()
        while self._next.kind in ("*", "/", "//", "%", "mod", "of"):
            if self._next.kind == "of" and not (self._percent or self._tokens[self._at - 1].kind == ")"):
                raise CannotCalculate("only a share can be 'of' something: 5% of 3, (1/2) of 3")
            value = _combined(self._take().kind, value, self._signed())
            self._percent = False
        return value

    def _signed(self) -> Number:
        if self._next.kind not in ("-", "+"):
            return self._power()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CannotCalculate("nested too deeply")
        minus = self._take().kind == "-"
        value = self._signed()
        self._depth -= 1
        return Number(-value.value, value.exact) if minus else value

    def _power(self) -> Number:
        base = self._postfix()
        if self._next.kind != "^":
            return base
        self._take()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CannotCalculate("nested too deeply")
        exponent = self._signed()
        self._depth -= 1
        self._percent = False
        return power(base, exponent)

    def _postfix(self) -> Number:
        value = self._atom()
        self._percent = False
        while True:
            if self._next.kind == "!":
                self._take()
                value = factorial(value)
            elif self._next.kind == "%" and self._tokens[self._at + 1].kind not in _OPERAND:
                self._take()
                value = Number(value.value / 100, value.exact)
                self._percent = True
            else:
                return value

    def _atom(self) -> Number:
        token = self._take()
        if token.kind == "number":
            return _read(token.text)
        if token.kind == "name" and token.text == "pi":
            return PI
        if token.kind == "(":
            return self._closed()
        if token.kind == "name":
            if self._next.kind == "(":
                self._take()
                return _FUNCTION[token.text](self._closed())
            if token.text == "sqrt" and self._next.kind == "number":  # √2
                return _FUNCTION["sqrt"](_read(self._take().text))
            raise CannotCalculate(f"write {token.text}(...) with parentheses")
        raise CannotCalculate("the expression ends too early" if token.kind == "end" else f"unexpected {token.text!r}")

    def _closed(self) -> Number:
        value = self._sum()
        if self._take().kind != ")":
            raise CannotCalculate("a parenthesis is not closed")
        return value


def _read(text: str) -> Number:
    if len(text) > _MAX_NUMBER_CHARS:
        raise CannotCalculate(f"a number of more than {_MAX_NUMBER_CHARS} digits")
    return checked(Fraction(text), exact=True)


def _combined(sign: str, left: Number, right: Number) -> Number:
    exact = left.exact and right.exact
    if sign in ("*", "of"):
        return checked(left.value * right.value, exact=exact)
    if right.value == 0:
        raise NoValue("division by zero")
    if sign == "/":
        return checked(left.value / right.value, exact=exact)
    if sign == "//":
        return checked(Fraction(left.value // right.value), exact=exact)
    return checked(left.value % right.value, exact=exact)


_FUNCTION = {
    "sqrt": lambda n: power(n, Number(Fraction(1, 2))),
    "abs": lambda n: Number(abs(n.value), n.exact),
    "floor": lambda n: Number(Fraction(math.floor(n.value)), n.exact),
    "ceil": lambda n: Number(Fraction(math.ceil(n.value)), n.exact),
    "factorial": factorial,
}
