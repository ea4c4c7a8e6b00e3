"""Questions that are a computation and nothing else, and such that only look like one: what the tool agent is for."""

# ruff: noqa: E501 - templates read best in rows

from __future__ import annotations

import datetime
from collections.abc import Iterator
from random import Random

_ASKS = (
    "What is {x}?", "what's {x}", "{x}", "{x} = ?", "{x} =", "Calculate {x}", "Compute {x}.", "calculate: {x}", "How much is {x}?",
    "Evaluate {x}", "Please work out {x}.", "Can you calculate {x} for me?", "I need the result of {x}", "Solve {x}",
    "What do you get for {x}?", "Tell me {x}", "Find {x}.", "compute the value of {x}", "Could you tell me what {x} is?",
    "Give me the exact value of {x}.", "What does {x} come to?", "What does {x} equal?", "exact result please: {x}",
)  # fmt: skip
_NEAR = (
    "Explain step by step how to compute {x}.", "Write a Python program that prints {x}", "Why is {x} so hard to do in your head?",
    "Write {n} in Roman numerals.", "Is {n} a prime number?", "What are the prime factors of {n}?", "Convert {n} to binary.",
    "Convert {n} kilometres to miles.", "What is the {m}th Fibonacci number?", "List the first {m} prime numbers.",
    "A pen costs ${a}. How much do {m} pens cost?", "{m} friends share {n} coins equally. How many does each get?",
    "What happened on {d}?", "Who was born on {d}?", "Was the weather good in Paris on {d}?", "Translate '{m} days after {d}' into German.",
    "What is the population of Japan divided by {m}?", "How old was Einstein on {d}?", "Write a poem of {m} lines about the number {n}.",
    "What does the expression {x} mean in physics?", "Solve for x: {m}x + {n} = {a}", "What is the derivative of x^{m} + {n}x?",
    "Round {a} to a whole number and explain the rule.", "If today is {d}, how many working days are left this month?",
    "Which holidays are there within {m} days of {d}?", "Give me {m} reasons why {n} is a lucky number.", "Check this sum: {x} = {n}",
    "What is {p}% of the population of France?", "I have {n} dollars and spend {p}% a week; after how many weeks is half gone?",
    "Summarise the events of {y}.", "Name a film from {y}.", "What is the next number after {m}, {n}, {a}?", "What is the integral of {m}x dx?",
)  # fmt: skip
_DATE_FORMS = ("%B %-d, %Y", "%-d %B %Y", "%Y-%m-%d", "%b %-d %Y", "%-d %b %Y")
_UNITS = (("days", 400), ("weeks", 60), ("months", 30), ("years", 20))
_PAIRS = (
    "{a} plus {b}", "{a} minus {b}", "{a} times {b}", "{a} multiplied by {b}",
    "{a} divided by {b}", "the sum of {a} and {b}", "the product of {a} and {b}",
    "the difference between {a} and {b}", "{a} to the power of {c}", "{a} squared",
    "the square root of {a}", "the remainder of {a} divided by {b}", "{a} modulo {b}",
    "half of {a}", "the average of {a}, {b} and {d}", "the cube root of {a}",
)  # fmt: skip


def questions(rng: Random, count: int) -> Iterator[tuple[str, str]]:
    """(kind, question): arithmetic, percentages and dates, phrased in many ways, and near misses of them."""
    for _ in range(count):
        kind = rng.choices(("signs", "words", "percentage", "date", "near"), (36, 12, 15, 17, 20))[0]
        if kind == "signs":
            asked = rng.choice(_ASKS).format(x=_expression(rng, rng.choice((1, 1, 2, 2, 3))))
        elif kind == "words":
            form = rng.choice(_PAIRS)
            words = form.format(a=_number(rng), b=_number(rng), c=rng.randint(2, 9), d=_number(rng))
            asked = rng.choice(_ASKS).format(x=words)
        elif kind == "percentage":
            asked = _percentage(rng)
        elif kind == "date":
            asked = _date(rng)
        else:
            asked = _near_miss(rng)
        yield kind, asked if rng.random() < 0.8 else asked.lower()  # noqa: PLR2004 - a fifth in lower case


def _number(rng: Random) -> str:
    value = rng.choice(
        (rng.randint(2, 99), rng.randint(100, 99999), round(rng.uniform(0.1, 999), rng.choice((1, 2, 3))))
    )
    return f"{value:,}" if isinstance(value, int) and value > 9999 and rng.random() < 0.4 else f"{value}"  # noqa: PLR2004 - some with separators


def _expression(rng: Random, depth: int) -> str:
    if depth == 0:
        return _number(rng)
    left, right = _expression(rng, depth - 1 if rng.random() < 0.6 else 0), _expression(rng, 0)  # noqa: PLR2004 - lopsided
    sign = rng.choice(("+", "-", "*", "/", "*", "+", "x", "**", "^", "%"))
    text = f"{left} {sign} {right}" if rng.random() < 0.75 else f"{left}{sign}{right}"  # noqa: PLR2004 - some without spaces
    if depth > 1 and rng.random() < 0.5:  # noqa: PLR2004 - half in brackets
        text = f"({text}) {rng.choice('+-*/')} {_number(rng)}"
    return text


def _percentage(rng: Random) -> str:
    share = rng.choice((rng.randint(1, 99), round(rng.uniform(0.5, 60), 1)))
    amount, other = _number(rng), _number(rng)
    money = rng.choice(("", "", "$", "€"))
    return rng.choice(
        (
            "What is {p}% of {m}{a}?", "How much is {p} percent of {m}{a}?", "{p}% of {a}", "Calculate {p}% of {m}{a}.",
            "Increase {m}{a} by {p}%", "Decrease {a} by {p} percent", "What is {m}{a} plus {p}%?", "{a} minus {p}%",
            "What percentage of {a} is {b}?", "{b} is what percent of {a}?", "What is {p} % tip on {m}{a}?", "Add {p}% VAT to {m}{a}.",
            "What is the percent change from {a} to {b}?", "take {p}% off {m}{a}",
        )
    ).format(p=share, a=amount, b=other, m=money)  # fmt: skip


def _date(rng: Random) -> str:
    start = datetime.date(1950, 1, 1) + datetime.timedelta(days=rng.randint(0, 36000))
    end = start + datetime.timedelta(days=rng.randint(2, 3000))
    form = rng.choice(_DATE_FORMS)
    unit, most = rng.choice(_UNITS)
    return rng.choice(
        (
            "What date is {n} {u} after {d}?", "What is the date {n} {u} before {d}?", "Add {n} {u} to {d}", "{d} plus {n} {u}",
            "How many days are there between {d} and {e}?", "How many days from {d} to {e}?", "Days between {d} and {e}",
            "What day of the week was {d}?", "Which weekday is {d}?", "What day is {d}", "On which day of the week does {d} fall?",
            "How many weeks are between {d} and {e}?", "What date was {n} {u} before {d}?", "Is {y} a leap year?",
            "How many days does it take from {d} until {e}?", "What will be the date {n} {u} from {d}?", "{n} {u} after {d}",
            "What is the date today?", "What day is it today?", "What date is {n} {u} from today?", "How many days until {e}?",
            "what's today's date", "Which date is {n} {u} from now?", "What day of the week is it?", "{n} {u} before {d}",
        )
    ).format(n=rng.randint(2, most), u=unit, d=start.strftime(form), e=end.strftime(form), y=start.year)  # fmt: skip


def _near_miss(rng: Random) -> str:
    day = datetime.date(1950, 1, 1) + datetime.timedelta(days=rng.randint(0, 36000))
    return rng.choice(_NEAR).format(
        x=_expression(rng, rng.choice((1, 2))),
        n=rng.randint(10, 5000),
        m=rng.randint(2, 15),
        a=_number(rng),
        p=rng.randint(1, 60),
        d=day.strftime(rng.choice(_DATE_FORMS)),
        y=day.year,
    )
