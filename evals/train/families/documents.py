"""Questions to private documents: hopeless by heart, easy with the passage."""

from __future__ import annotations

from random import Random

from evals.train.families import words as w
from evals.train.items import Item, Maker, number, says

_FILLER = (
    "The office kitchen is cleaned every evening.",
    "Visitors sign in at the front desk.",
    "The building has been renovated several times.",
    "Further details are in the handbook.",
    "Questions can be sent to the support team.",
    "The text was last reviewed in spring.",
    "Parking is available behind the main entrance.",
    "All prices include tax.",
)


def _passage(rng: Random, *facts: str) -> str:
    sentences = [*facts, *rng.sample(_FILLER, rng.choice((1, 2, 3)))]
    rng.shuffle(sentences)
    return " ".join(sentences)


def who(rng: Random) -> Item:
    """A person in a role."""
    name = f"{rng.choice(w.NAMES)} {rng.choice(w.SURNAMES)}"
    thing = rng.choice(
        (
            "Harbour Museum",
            "Project Falcon",
            "the Norwood plant",
            "the data platform",
            "the Elmstead bridge",
            "the spring campaign",
        )
    )
    verb, question = rng.choice(
        (
            ("was designed by", "Who designed {t}?"),
            ("is led by", "Who leads {t}?"),
            ("was founded by", "Who is the founder of {t}?"),
            ("is managed by", "Which person is the manager of {t}?"),
        )
    )
    passage = _passage(rng, f"{thing[0].upper()}{thing[1:]} {verb} {name}.", f"It stands near {rng.choice(w.CITIES)}.")
    return Item(question.format(t=thing), says(name, name.split()[1]), passage=passage)


def when(rng: Random) -> Item:
    """A date of an event."""
    date, year = f"{rng.randint(1, 28)} {rng.choice(w.MONTHS)}", rng.randint(1900, 2029)
    what = rng.choice(
        (
            "The annual audit",
            "The Harbour Museum",
            "The Falcon release",
            "The lease of the warehouse",
            "The summer school",
        )
    )
    verb, question = rng.choice(
        (
            ("begins on", "When does {t} begin?"),
            ("opens on", "On which date does {t} open?"),
            ("ends on", "When does {t} end?"),
        )
    )
    passage = _passage(rng, f"{what} {verb} {date} {year}.", f"It takes place in {rng.choice(w.CITIES)}.")
    day, month = date.split()
    return Item(question.format(t=what[0].lower() + what[1:]), says(date, f"{month} {day}"), passage=passage)


def how_much(rng: Random) -> Item:
    """A price, a limit or a number of days."""
    n = rng.randint(3, 90)
    sentence, question = rng.choice(
        (
            (f"The refund period is {n} days from the date of delivery.", "How many days is the refund period?"),
            (f"Employees get {n} days of paid leave a year.", "How many days of paid leave do employees get?"),
            (f"The monthly fee of the basic plan is ${n}.", "What is the monthly fee of the basic plan?"),
            (f"The pump must be serviced every {n} weeks.", "How often must the pump be serviced?"),
            (f"The warranty of the compressor lasts {n} months.", "How long does the compressor's warranty last?"),
            (
                f"Meals are reimbursed up to ${n} a day when travelling.",
                "What is the daily meal limit when travelling?",
            ),
            (f"The hall seats {n + 100} people.", f"How many people fit in the hall? ({rng.choice(w.CITIES)} site)"),
        )
    )
    right = n + 100 if "hall" in sentence else n
    check = says(str(right), f"${right}")
    return Item(question, check, passage=_passage(rng, sentence))


def where(rng: Random) -> Item:
    """A place."""
    city = rng.choice(w.CITIES)
    sentence, question = rng.choice(
        (
            (f"The headquarters of the company are in {city}.", "Where are the company's headquarters?"),
            (f"Spare parts are shipped from {city}.", "From which city are spare parts shipped?"),
            (f"The next conference will be held in {city}.", "Where will the next conference be held?"),
            (f"The backup servers are located in {city}.", "Where are our backup servers?"),
        )
    )
    return Item(question, says(city), passage=_passage(rng, sentence))


def how_to(rng: Random) -> Item:
    """A step or a setting from a manual."""
    code = f"{rng.choice('ABCDEFGH')}{rng.randint(10, 99)}"
    sentence, question, right = rng.choice(
        (
            (
                f"Error {code} means that the filter is blocked; clean it with warm water.",
                f"What does error {code} mean?",
                ("filter",),
            ),
            (
                "To reset the router, hold the blue button for ten seconds.",
                "How do I reset the router?",
                ("blue button",),
            ),
            (f"The admin password is stored in safe {code}.", "Where is the admin password stored?", (code,)),
            ("Expense reports must be approved by the team lead.", "Who must approve expense reports?", ("team lead",)),
            (
                "The alarm is disarmed with the green key card.",
                "What disarms the alarm?",
                ("green key card", "key card"),
            ),
        )
    )
    return Item(question, says(*right), passage=_passage(rng, sentence))


def difference(rng: Random) -> Item:
    """Two facts of the passage that must be combined: more than looking up."""
    a, b = rng.randint(20, 90), rng.randint(3, 19)
    passage = _passage(
        rng, f"The north depot has {a} vans.", f"The south depot has {b} vans fewer than the north depot."
    )
    return Item("How many vans does the south depot have?", number(a - b), passage=passage, max_tokens=80)


FAMILIES: dict[str, Maker] = {
    "doc-who": who,
    "doc-when": when,
    "doc-how-much": how_much,
    "doc-where": where,
    "doc-how-to": how_to,
    "doc-difference": difference,
}
