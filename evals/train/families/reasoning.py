"""Sums, dates, word problems and puzzles: what takes more than one step, or an exact result."""

# ruff: noqa: E501 - a prompt stays on one line

from __future__ import annotations

import datetime
import operator
from random import Random

from evals.train.families import words as w
from evals.train.items import Item, Maker, first_word, label, number, says

_STEPS_TOKENS = 220


def _choice(rng: Random, *templates: str, **fields: object) -> str:
    return rng.choice(templates).format(**fields)


def one_step(rng: Random) -> Item:
    """Two small numbers."""
    sign, word, work = rng.choice(
        (("+", "plus", operator.add), ("-", "minus", operator.sub), ("*", "times", operator.mul))
    )
    a, b = rng.randint(2, 20), rng.randint(2, 12)
    prompt = _choice(
        rng,
        "What is {a} {s} {b}?",
        "{a} {s} {b} =",
        "Calculate {a} {s} {b}",
        "What is {a} {n} {b}?",
        a=a,
        b=b,
        s=sign,
        n=word,
    )
    return Item(prompt, number(work(a, b)))


def big_sum(rng: Random) -> Item:
    """Numbers nobody has learnt by heart."""
    a, b, c = round(rng.uniform(11, 999), rng.choice((0, 1, 2))), rng.randint(13, 999), rng.randint(2, 99)
    form, right = rng.choice(
        (
            ("{a} * {b} + {c}", a * b + c),
            ("({a} + {b}) * {c}", (a + b) * c),
            ("{a} * {b}", a * b),
            ("{a} - {b} * {c}", a - b * c),
        )
    )
    text = form.format(a=f"{a:g}", b=b, c=c)
    prompt = _choice(rng, "What is {x}?", "Compute {x}", "Evaluate: {x}", "How much is {x}", x=text)
    return Item(prompt, number(right, 1e-4), max_tokens=120)


def percentage(rng: Random) -> Item:
    """A share of an amount."""
    share, amount = rng.choice((5, 8, 12, 15, 17.5, 20, 25, 35)), rng.randint(20, 900)
    prompt = _choice(
        rng,
        "What is {p}% of {a}?",
        "How much is {p} percent of {a}?",
        "Work out {p}% of ${a}.",
        p=f"{share:g}",
        a=amount,
    )
    return Item(prompt, number(share * amount / 100, 1e-4), max_tokens=120)


def compare(rng: Random) -> Item:
    """The larger of two numbers."""
    a, b = rng.sample(range(3, 2000), 2)
    if rng.random() < 0.4:  # noqa: PLR2004 - some with decimals, where length misleads
        a, b = rng.randint(1, 20), rng.randint(1, 20) + 1000
        first, second = f"{a}.{rng.randint(2, 9)}", f"{a}.1{rng.randint(1, 9)}"
        return Item(
            _choice(rng, "Which is larger, {x} or {y}?", "Which number is bigger: {y} or {x}?", x=first, y=second),
            number(float(first)),
        )
    prompt = _choice(
        rng,
        "Which is larger, {a} or {b}?",
        "Which number is bigger: {a} or {b}? Answer with the number only.",
        a=a,
        b=b,
    )
    return Item(prompt, number(max(a, b)))


def day_after(rng: Random) -> Item:
    """A date some days on, or the weekday of a date."""
    start = datetime.date(2015, 1, 1) + datetime.timedelta(days=rng.randint(0, 5000))
    days = rng.choice((3, 10, 15, 30, 45, 90, 120))
    end = start + datetime.timedelta(days=days)
    if rng.random() < 0.4:  # noqa: PLR2004 - both kinds, about evenly
        prompt = _choice(rng, "What day of the week was {d}?", "Which weekday is {d}?", d=start.strftime("%B %-d, %Y"))
        return Item(prompt, label(w.DAYS[start.weekday()], w.DAYS))
    prompt = _choice(
        rng,
        "What date is {n} days after {d}?",
        "Add {n} days to {d}.",
        "Which date comes {n} days after {d}?",
        n=days,
        d=start.strftime("%B %-d, %Y"),
    )
    return Item(prompt, says(end.strftime("%B %-d"), end.strftime("%-d %B"), end.isoformat()), max_tokens=80)


def story_two(rng: Random) -> Item:
    """A word problem of two steps."""
    name, thing = rng.choice(w.NAMES), rng.choice(w.THINGS)
    a, b, c = rng.randint(12, 40), rng.randint(2, 9), rng.randint(2, 9)
    prompt, right = rng.choice(
        (
            (
                f"{name} has {a} {thing}. She gives away {b} and then buys {c} more. How many {thing} does she have now?",
                a - b + c,
            ),
            (
                f"{name} buys {b} packs of {c} {thing} each and already had {a}. How many {thing} are there in total?",
                b * c + a,
            ),
            (
                f"A box holds {c} {thing}. {name} fills {b} boxes and loses 1 of the {thing}. How many are left?",
                b * c - 1,
            ),
            (
                f"{name} earns ${a} an hour. How much does {name} earn in {b} hours if ${c} are taken off for lunch?",
                a * b - c,
            ),
        )
    )
    return Item(prompt, number(right), max_tokens=_STEPS_TOKENS)


def story_many(rng: Random) -> Item:
    """A word problem of four steps and more."""
    first, second = rng.sample(w.NAMES, 2)
    thing = rng.choice(w.THINGS)
    a, b, c, d = rng.randint(4, 20) * 2, rng.randint(2, 5), rng.randint(3, 12), rng.choice((10, 20, 25, 50))
    price = rng.choice((2, 3, 4, 5))
    speed = {10: 50, 20: 50}.get(d, d)
    prompt, right = rng.choice(
        (
            (
                f"{first} has {a} {thing}. {second} has {b} times as many. {second} gives half of them to a friend and then {first} gives {second} {c if c < a else 2}. How many {thing} do {first} and {second} have together?",
                a + b * a / 2,
            ),
            (
                f"A shop sells {thing} at ${price} each. On Monday it sells {a}, on Tuesday {b} times as many as on Monday, and on Wednesday {c} fewer than on Tuesday. How much money does it take over the three days?",
                price * (a + a * b + a * b - c),
            ),
            (
                f"A tank holds {a * 50} litres. It is filled at {b * 5} litres a minute and leaks {b} litres a minute. Starting empty, how many litres are in it after {c} minutes, and how many are missing to a full tank? Give only the missing litres.",
                a * 50 - c * b * 4,
            ),
            (
                f"{first} drives {a * 10} km at {speed} km/h and then walks {c} km at 4 km/h. {first} rests for {b} hours in between. How many hours does the whole trip take?",
                a * 10 / speed + c / 4 + b,
            ),
            (
                f"In a class of {a * 5} pupils {d}% play football. Of those who do not, half play tennis and {b} play chess. The rest play nothing. How many play nothing?",
                a * 5 * (100 - d) / 100 / 2 - b,
            ),
        )
    )
    return Item(prompt, number(right, 1e-3), max_tokens=_STEPS_TOKENS)


def ordering(rng: Random) -> Item:
    """Who is tallest, oldest, fastest, from comparisons."""
    people = rng.sample(w.NAMES, rng.choice((3, 4, 5)))
    more, most, least = rng.choice(
        (("taller", "tallest", "shortest"), ("older", "oldest", "youngest"), ("faster", "fastest", "slowest"))
    )
    facts = [f"{people[i]} is {more} than {people[i + 1]}." for i in range(len(people) - 1)]
    rng.shuffle(facts)
    asked, right = rng.choice(((most, people[0]), (least, people[-1])))
    prompt = _choice(
        rng,
        "{f} Who is the {x}?",
        "{f}\nQuestion: who is the {x}?",
        "Given that: {f} Name the {x} one.",
        f=" ".join(facts),
        x=asked,
    )

    def check(answer: str) -> bool:
        last = answer.strip().split(".")
        return label(right, people)(answer) or (len(last) > 1 and label(right, people)(". ".join(last[-2:])))

    return Item(prompt, check, max_tokens=120)


def liars(rng: Random) -> Item:
    """A chain of people who lie or tell the truth."""
    people = rng.sample(w.NAMES, rng.choice((3, 4, 5)))
    truth = rng.random() < 0.5  # noqa: PLR2004 - a fair coin
    parts = [f"{people[0]} {'tells the truth' if truth else 'lies'}."]
    for speaker, about in zip(people[1:], people[:-1], strict=True):
        claim = rng.random() < 0.5  # noqa: PLR2004 - a fair coin
        parts.append(f"{speaker} says {about} {'tells the truth' if claim else 'lies'}.")
        truth = claim == truth
    prompt = f"{' '.join(parts)} Does {people[-1]} tell the truth? Answer yes or no."
    return Item(prompt, first_word("yes" if truth else "no", ("no",) if truth else ("yes",)), max_tokens=120)


def syllogism(rng: Random) -> Item:
    """Whether a conclusion follows."""
    a, b, c = rng.sample(["bloops", "razzies", "lazzies", "wumps", "glorks", "zibbles", "trons"], 3)
    right = rng.choice(("yes", "no"))  # as often the one as the other: who always says the same is right half the time
    facts = rng.choice(
        (
            f"All {a} are {b}. All {b} are {c}. Are all {a} {c}?",
            f"If it is one of the {a}, it is one of the {b}. Kim is one of the {a}. Is Kim one of the {b}?",
            f"All {a} are {b}. Rex is one of the {a}. Must Rex be one of the {b}?",
            f"No {a} are {b}. All {c} are {a}. Is it true that no {c} are {b}?",
        )
        if right == "yes"
        else (
            f"No {a} are {b}. All {c} are {a}. Can one of the {c} be one of the {b}?",
            f"Some {a} are {b}. All {b} are {c}. Does it follow that all {a} are {c}?",
            f"All {a} are {b}. Rex is not one of the {b}. Can Rex be one of the {a}?",
            f"All {a} are {b}. Kim is one of the {b}. Must Kim be one of the {a}?",
        )
    )
    prompt = _choice(rng, "{f} Answer yes or no.", "{f} Yes or no?", "{f}", f=facts)
    return Item(prompt, first_word(right, ("no",) if right == "yes" else ("yes",)), max_tokens=100)


def sequence(rng: Random) -> Item:
    """The next number."""
    start, step = rng.randint(1, 9), rng.randint(2, 7)
    rows = (
        [start + step * i for i in range(6)],
        [start * 2**i for i in range(6)],
        [start + i * i for i in range(6)],
        [start + i * (i + 1) // 2 * step for i in range(6)],
    )
    row = rng.choice(rows)
    shown = ", ".join(str(x) for x in row[:5])
    prompt = _choice(
        rng,
        "What comes next: {r}, ?",
        "Complete the sequence {r}, ...",
        "Find the next number in the series {r}.",
        r=shown,
    )

    def check(answer: str) -> bool:
        return number(row[5])(answer) or says(str(row[5]))(answer.removeprefix(shown)[:80])

    return Item(prompt, check, max_tokens=80)


def proof(rng: Random) -> Item:
    """A longer piece of mathematics with one number at the end."""
    n, k = rng.randint(5, 9), rng.randint(2, 4)
    total = 1
    for i in range(k):
        total = total * (n - i) // (i + 1)
    m, r = rng.randint(3, 9), rng.randint(10, 40)
    prompt, right = rng.choice(
        (
            (
                f"In how many ways can a committee of {k} people be chosen from {n} people? Explain your reasoning step by step and end with the number.",
                total,
            ),
            (
                f"Find the sum of all positive integers below {r} that are divisible by {m}. Reason carefully and end with the number.",
                sum(range(m, r, m)),
            ),
            (
                f"The real number x satisfies {m}x + {r} = {m * k + r}. What is x^2 + {n}? Show each step and end with the number.",
                k * k + n,
            ),
            (
                f"Two fair dice are rolled. In how many of the 36 outcomes is the sum exactly {n}? Explain, then end with the number.",
                6 - abs(n - 7),
            ),
        )
    )
    return Item(prompt, number(right), max_tokens=_STEPS_TOKENS)


FAMILIES: dict[str, Maker] = {
    "sum-one-step": one_step,
    "sum-big": big_sum,
    "percentage": percentage,
    "compare-numbers": compare,
    "day-after": day_after,
    "story-two-steps": story_two,
    "story-many-steps": story_many,
    "ordering": ordering,
    "liars": liars,
    "syllogism": syllogism,
    "sequence": sequence,
    "proof": proof,
}
