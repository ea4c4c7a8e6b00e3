"""What a model knows by heart: facts, words, translations."""

from __future__ import annotations

from random import Random

from evals.train.families import words as w
from evals.train.items import Item, Maker, first_word, label, number, says


def _choice(rng: Random, *templates: str, **fields: object) -> str:
    return rng.choice(templates).format(**fields)


def capital(rng: Random) -> Item:
    """The capital of a country, or the country of a capital."""
    country = rng.choice(sorted(w.CAPITALS))
    city = w.CAPITALS[country]
    passage = f"{country} is a country whose capital is {city}. Its government and parliament meet there."
    if rng.random() < 0.3:  # noqa: PLR2004 - the harder direction, less often asked
        prompt = _choice(rng, "{c} is the capital of which country?", "Of which country is {c} the capital?", c=city)
        return Item(prompt, says(country), passage=passage)
    prompt = _choice(
        rng,
        "What is the capital of {c}?",
        "Capital of {c}?",
        "Name the capital city of {c}.",
        "Which city is the capital of {c}?",
        "tell me {c}'s capital",
        c=country,
    )
    return Item(prompt, says(city), passage=passage)


def yes_no(rng: Random) -> Item:
    """A plain fact, yes or no."""
    true = rng.random() < 0.5  # noqa: PLR2004 - a fair coin
    fact = rng.choice(w.TRUE_FACTS if true else w.FALSE_FACTS)
    prompt = _choice(rng, "Is {f}? Answer yes or no.", "Yes or no: is {f}?", "Is {f}?", f=fact)
    return Item(prompt, first_word("yes" if true else "no", ("no",) if true else ("yes",)))


def trivia(rng: Random) -> Item:
    """General knowledge with a one-word answer."""
    question, answer = rng.choice(w.TRIVIA)
    prompt = _choice(rng, "{q}?", "{q}? Answer briefly.", "Question: {q}?\nAnswer:", "quiz: {q}", q=question)
    check = number(float(answer)) if answer.isdigit() else says(answer)
    if answer == "4":
        check = says("4", "four")
    return Item(prompt, check)


def quantity(rng: Random) -> Item:
    """How many there are of something everyone counts."""
    what, right = rng.choice(w.QUANTITIES)
    words = {7: "seven", 12: "twelve", 8: "eight", 3: "three", 2: "two", 11: "eleven", 60: "sixty", 24: "twenty-four"}
    prompt = _choice(rng, "How many {x}?", "How many {x}? Just the number.", "Tell me how many {x}.", x=what)
    return Item(prompt, says(str(right), words.get(right, str(right)), f"{right:,}"))


def opposite(rng: Random) -> Item:
    """An antonym."""
    word, right = rng.choice(sorted(w.OPPOSITES.items()))
    prompt = _choice(
        rng, "What is the opposite of '{x}'?", "Antonym of {x}:", "Give the opposite of the word {x}.", x=word
    )
    return Item(prompt, says(right))


def category(rng: Random) -> Item:
    """What kind of thing a word names."""
    right = rng.choice(sorted(w.CATEGORIES))
    listed = ", ".join(w.CATEGORIES)
    prompt = _choice(
        rng,
        "Is a {x} one of these: {l}? Which?",
        "Categorise '{x}' as {l}.",
        "Which category does {x} belong to ({l})?",
        x=rng.choice(w.CATEGORIES[right]),
        l=listed,
    )
    return Item(prompt, label(right, w.CATEGORIES))


def translate(rng: Random) -> Item:
    """A common word into another language."""
    language = rng.choice(sorted(w.TRANSLATIONS))
    word, right = rng.choice(sorted(w.TRANSLATIONS[language].items()))
    prompt = _choice(
        rng,
        "Translate to {l}: {x}",
        "How do you say '{x}' in {l}?",
        "What is the {l} word for {x}?",
        "{x} in {l}?",
        'Translate the word "{x}" into {l}.',
        l=language,
        x=word,
    )
    return Item(prompt, says(right))


def translate_sentence(rng: Random) -> Item:
    """A short sentence into another language; judged by the words it cannot do without."""
    language, place = rng.choice((("Spanish", 0), ("French", 1), ("German", 2), ("Italian", 3)))
    table = {
        "The dog sleeps under the table": (("perro", "chien", "Hund", "cane"), ("mesa", "table", "Tisch", "tavolo")),
        "Tomorrow we go to the beach": (
            ("playa", "plage", "Strand", "spiaggia"),
            ("mañana", "demain", "Morgen", "domani"),
        ),
        "The book is on the chair": (("libro", "livre", "Buch", "libro"), ("silla", "chaise", "Stuhl", "sedia")),
        "I drink water in the morning": (("agua", "eau", "Wasser", "acqua"), ("mañana", "matin", "Morgen", "mattina")),
        "My friend has a red house": (("amigo", "ami", "Freund", "amico"), ("roja", "rouge", "rotes", "rossa")),
    }
    sentence = rng.choice(sorted(table))
    first, second = table[sentence]
    prompt = _choice(
        rng,
        "Translate into {l}: {s}.",
        "Please translate the following sentence to {l}.\n\n{s}.",
        'How would a {l} speaker say "{s}"?',
        l=language,
        s=sentence,
    )
    wanted = (first[place], second[place])
    return Item(prompt, lambda answer: all(word.lower() in answer.lower() for word in wanted))


FAMILIES: dict[str, Maker] = {
    "capital": capital,
    "yes-no": yes_no,
    "trivia": trivia,
    "quantity": quantity,
    "opposite": opposite,
    "category": category,
    "translate": translate,
    "translate-sentence": translate_sentence,
}
