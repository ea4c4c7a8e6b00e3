"""A plain English question that is nothing but a sum, as an expression for the calculator. Pure.

A grammar and not a search for keywords: every word must be accounted for, and what could be something else than a sum
("9/11", "555-1234", "7-Eleven", "the square root of 16 plus 9") is left alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from agents.tools.arithmetic import is_expression
from agents.tools.words import NUMBER_WORDS, read_number, scale_of

_MAX_WORDS = 120
_ASKED = re.compile(
    r"(?:(?:hi|hello|hey|please|ok|okay)[,!]? +)*"
    r"(?:(?:can|could|would|will) you +(?:please +)?|(?:i need|i want) (?:to know|you to) +)?(?:please +)?"
    r"(?:tell me +|let me know +)?"
    r"(?P<verb>(?:the (?:result|value|answer) (?:of|to) |calculate|compute|evaluate|work out|solve|figure out"
    r"|what(?: is|'s|s| are|’s| does| do| would be| will be)|how much(?: is| are| does|'s)|find)"  # noqa: RUF001 - as typed
    r"(?: *:)? +)?(?:the (?:result|value|answer) (?:of|to) +)?",
    re.IGNORECASE,
)
_END = re.compile(
    r"(?:[ ,]+(?:please|exactly|equal(?:s|\s+to)?|in total|thanks|thank you|make|come to))*[ ?.=]*$", re.IGNORECASE
)
_PIECE = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e[+-]?\d+)?|\.\d+)(?P<ordinal>(?:st|nd|rd|th)\b)?"
    r"|(?P<word>[a-z]+)|(?P<sign>\*\*|//|[-+*/^%!()×÷·−²³√$€£])",  # noqa: RUF001 - as typed
    re.IGNORECASE,
)
# Things that are written like sums, but mean a date, a score, a telephone number or a name.
_NOT_A_SUM = re.compile(
    r"\d{1,4}/\d{1,2}/\d{1,4}|\d+(?:[-–]\d+){2,}|\d{3}-\d{4}"  # noqa: RUF001 - as typed
    r"|9[/-]11|24[/-]7|7[/-]11|50[/-]50|20/20|4/20|10-4|1[/-]6"
)
_GLUED = re.compile(
    r"\b0[xbo][\da-f]|[a-z]-\d|\d-[a-z]|\b[a-z]+\d|\d(?!(?:st|nd|rd|th|x|e)\b|x\d|e\d)[a-z]", re.IGNORECASE
)

_PHRASES: dict[tuple[str, ...], str] = {
    ("plus",): "+",
    ("added", "to"): "+",
    ("minus",): "-",
    ("times",): "*",
    ("multiplied", "by"): "*",
    ("x",): "*",
    ("divided", "by"): "/",
    ("over",): "/",
    ("mod",): " mod ",
    ("modulo",): " mod ",
    ("percent",): "%",
    ("per", "cent"): "%",
    ("squared",): "^2",
    ("cubed",): "^3",
    ("factorial",): "!",
    ("to", "the", "power", "of"): "^",
    ("to", "the", "power"): "^",
    ("raised", "to", "the", "power", "of"): "^",
    ("raised", "to"): "^",
    ("of",): " of ",
    ("half", "of"): "(1/2) of ",
    ("one", "half", "of"): "(1/2) of ",
    ("a", "third", "of"): "(1/3) of ",
    ("one", "third", "of"): "(1/3) of ",
    ("two", "thirds", "of"): "(2/3) of ",
    ("a", "quarter", "of"): "(1/4) of ",
    ("one", "quarter", "of"): "(1/4) of ",
    ("three", "quarters", "of"): "(3/4) of ",
    ("a", "fifth", "of"): "(1/5) of ",
    ("a", "tenth", "of"): "(1/10) of ",
    ("half",): "(1/2) of ",
    ("twice",): "2 * ",
    ("double",): "2 * ",
    ("triple",): "3 * ",
    ("pi",): "pi",
    ("sqrt",): "sqrt",
    ("abs",): "abs",
}
_LONGEST = max(map(len, _PHRASES))


class _Form(NamedTuple):
    """A way to put a sum around operands that are sums themselves."""

    pattern: re.Pattern[str]
    expression: str


def _form(pattern: str, expression: str) -> _Form:
    return _Form(re.compile(f"(?:the )?{pattern}", re.IGNORECASE), expression)


_FORMS = (
    _form(r"difference between (?P<a>.+) and (?P<b>.+)", "abs(({a}) - ({b}))"),
    _form(r"product of (?P<a>.+) and (?P<b>.+)", "({a}) * ({b})"),
    _form(r"quotient of (?P<a>.+) and (?P<b>.+)", "({a}) / ({b})"),
    _form(r"ratio of (?P<a>.+) to (?P<b>.+)", "({a}) / ({b})"),
    _form(r"remainder (?:of|when) (?P<a>.+?)(?: is)? divided by (?P<b>.+)", "({a}) mod ({b})"),
    _form(r"(?:square root|sqrt) of (?P<a>.+)", "sqrt({a})"),
    _form(r"cube root of (?P<a>.+)", "({a}) ^ (1/3)"),
    _form(r"(?:square) of (?P<a>.+)", "({a}) ^ 2"),
    _form(r"cube of (?P<a>.+)", "({a}) ^ 3"),
    _form(r"factorial of (?P<a>.+)", "({a})!"),
    _form(r"absolute value of (?P<a>.+)", "abs({a})"),
    _form(r"average of (?P<a>.+) and (?P<b>.+)", "(({a}) + ({b})) / 2"),
    _form(r"(?P<a>.+) to the (?P<b>\d+)(?:st|nd|rd|th)(?: power)?", "({a}) ^ ({b})"),
    _form(r"add (?P<a>.+) (?:and|to) (?P<b>.+)", "({a}) + ({b})"),
    _form(r"subtract (?P<a>.+) from (?P<b>.+)", "({b}) - ({a})"),
    _form(r"multiply (?P<a>.+) (?:and|by|with) (?P<b>.+)", "({a}) * ({b})"),
    _form(r"divide (?P<a>.+) by (?P<b>.+)", "({a}) / ({b})"),
    _form(r"square root (?P<a>\S+)", "sqrt({a})"),
    _form(r"(?P<a>.+?) ?(?:%|percent|per cent) off (?P<b>.+)", "({b}) * (1 - ({a}) / 100)"),
    _form(
        r"(?P<b>.+) (?:increased by|plus an increase of) (?P<a>\S+) ?(?:%|percent|per cent)",
        "({b}) * (1 + ({a}) / 100)",
    ),
    _form(r"(?P<b>.+) (?:decreased|reduced) by (?P<a>\S+) ?(?:%|percent|per cent)", "({b}) * (1 - ({a}) / 100)"),
)
_SHARES = (
    re.compile(r"(?:what )?(?:percent|percentage|per cent|%) of (?P<b>.+) (?:is|are) (?P<a>.+)", re.IGNORECASE),
    re.compile(r"(?:what )?(?:percent|percentage|per cent|%) (?:is|are) (?P<a>.+) of (?P<b>.+)", re.IGNORECASE),
    re.compile(r"(?P<a>.+) as an? (?:percentage|percent) of (?P<b>.+)", re.IGNORECASE),
)
_CURRENCY = re.compile(r"(?<=[\d%]) (dollars?|euros?|pounds?|francs?|usd|eur|gbp|chf)\b", re.IGNORECASE)
_ATOM = re.compile(r"[\d.,]+|\([^()]*\)")


class Sum(NamedTuple):
    """An expression; `unit` belongs behind its value."""

    expression: str
    unit: str = ""


def parse(question: str) -> Sum | None:
    """The sum a question asks for, or None if it asks for anything else or more."""
    if len(question) > 6 * _MAX_WORDS:
        return None
    text = " ".join(question.split())
    asked = _ASKED.match(text)
    start = asked.end() if asked else 0
    body = _without_currency_words(_END.sub("", text[start:]))
    explicit = bool(asked and asked["verb"]) and not re.match(r"what|how", asked["verb"], re.IGNORECASE)  # type: ignore[index]  # `asked` is there
    whole = _END.sub("", text)
    for pattern in _SHARES:
        if (found := pattern.fullmatch(body) or pattern.fullmatch(whole)) and (share := _share(found)) is not None:
            return share
    if not explicit and _NOT_A_SUM.fullmatch(body):
        return None
    if body.endswith("!") and re.search(r"\d.*\d", body) and not re.fullmatch(r"\d+!", body):
        return None  # a factorial, or just excitement?
    expression = _expression(body)
    if expression is None or not _has_work(expression):
        return None
    return Sum(_bare(expression))


def _bare(expression: str) -> str:
    """Without parentheses around lone numbers."""
    return re.sub(r"(?<![a-z])\((\d[\d.,]*)\)", r"\1", expression)


def _without_currency_words(text: str) -> str:
    """Sums of money in one currency are sums of numbers."""
    kinds = {word.lower().rstrip("s") for word in _CURRENCY.findall(text)}
    return _CURRENCY.sub("", text) if len(kinds) == 1 else text


def _share(found: re.Match[str]) -> Sum | None:
    part, whole = _expression(found["a"].strip()), _expression(found["b"].strip())
    return Sum(_bare(f"({part}) / ({whole}) * 100"), "%") if part is not None and whole is not None else None


def _expression(text: str, depth: int = 0) -> str | None:
    if depth > 4:  # noqa: PLR2004 - forms within forms within forms: nobody talks like that
        return None
    if (listed := _listed(text, depth)) is not None:
        return listed
    for form in _FORMS:
        if found := form.pattern.fullmatch(text):
            parts = {name: _expression(part.strip(), depth + 1) for name, part in found.groupdict().items()}
            # "the square root of 16 plus 9": of which? A form may hold a sum only if nothing can be doubted.
            if all(part is not None and (len(parts) > 1 or _is_atom(part)) for part in parts.values()):
                return form.expression.format(**parts)
            return None
    symbols = _symbols(text)
    return symbols if symbols is not None and is_expression(symbols) else None


def _listed(text: str, depth: int) -> str | None:
    """`the sum of 3, 4 and 5`, and the same for products and averages."""
    found = re.fullmatch(r"(?:the )?(sum|total|product|average|mean) of (.+)", text, re.IGNORECASE)
    if found is None:
        return None
    parts = [part for part in re.split(r",? and |, ", found[2]) if part.strip()]
    terms = [_expression(part.strip(), depth + 1) for part in parts]
    if len(terms) < 2 or any(term is None for term in terms):  # noqa: PLR2004 - a sum has two terms at least
        return None
    what = found[1].lower()
    joined = (" * " if what == "product" else " + ").join(f"({term})" for term in terms)
    return f"({joined}) / {len(terms)}" if what in ("average", "mean") else joined


def _symbols(text: str) -> str | None:
    """Words turned into signs; None as soon as one word is left over."""
    if _GLUED.search(text) or (re.search(r"[a-z]-[a-z]", text, re.IGNORECASE) and not _hyphened_numbers(text)):
        return None
    words: list[str] = []
    at = 0
    text = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text, flags=re.IGNORECASE)
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        piece = _PIECE.match(text, at)
        if piece is None or piece["ordinal"]:
            return None
        words.append(piece[0].lower())
        at = piece.end()
    return _translated(words) if len(words) <= _MAX_WORDS else None


def _translated(words: list[str]) -> str | None:
    out: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if not word[0].isalpha():
            scale = scale_of(words[at + 1]) if at + 1 < len(words) and word[0].isdigit() else None
            out.append(word if scale is None else f"({word} * {scale})")
            at += 1 if scale is None else 2
            continue
        phrase = next((n for n in range(_LONGEST, 0, -1) if tuple(words[at : at + n]) in _PHRASES), 0)
        number = read_number(words, at)
        if phrase and (number is None or phrase > number[1] - at):
            out.append(_PHRASES[tuple(words[at : at + phrase])])
            at += phrase
        elif number is not None:
            out.append(str(number[0]))
            at = number[1]
        else:
            return None
    return re.sub(r"\( ", "(", re.sub(r" (?=[%!)^])", "", " ".join(part.strip() for part in out)))


def _hyphened_numbers(text: str) -> bool:
    """Whether every hyphen between letters joins number words, as in "twenty-three"."""
    return all(
        first.lower() in NUMBER_WORDS and second.lower() in NUMBER_WORDS and second.lower() != "eleven"
        for first, second in re.findall(r"([a-z]+)-([a-z]+)", text, re.IGNORECASE)
    )


def _is_atom(expression: str) -> bool:
    return (
        bool(_ATOM.fullmatch(expression.strip())) or re.fullmatch(r"(?:sqrt|abs)\([^()]*\)|pi", expression) is not None
    )


def _has_work(expression: str) -> bool:
    """A number by itself is no question."""
    return not re.fullmatch(r"[-+]?[\d.,]+%?|pi|\([\d.,]+ \* \d+\)", expression.strip())
