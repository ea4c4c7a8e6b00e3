"""What the models are asked. Every request of a round is another one, so that no cache of whole prompts gains anything.

Pure: the same numbers give the same texts, in every run and for every system.
"""

from __future__ import annotations

import itertools

_HEROES = (
    "a lighthouse keeper", "a retired sailor", "a young baker", "a travelling violinist", "a shy astronomer",
    "a village doctor", "an old clockmaker", "a brave librarian", "a lonely gardener", "a stubborn miller",
    "a curious painter", "a careful beekeeper", "a poor fisherman", "a clever tailor", "a quiet postman",
    "a restless potter", "a young shepherd", "a tired innkeeper", "a famous cook", "a forgotten inventor",
)  # fmt: skip
_PLACES = (
    "in a harbour town", "on a windy island", "in a mountain village", "at the edge of a desert", "in a snowy city",
    "beside a slow river", "in a deep forest", "under an old bridge", "in a busy market", "on a long train journey",
)  # fmt: skip
_FINDS = (
    "a locked wooden box", "a letter without a sender", "a map of a hidden valley", "a talking crow",
    "a broken compass", "a key that fits no door", "a lamp that never goes out", "a book with empty pages",
    "a strange blue seed", "a small silver bell",
)  # fmt: skip

_SENTENCES = (
    "Section {n}: the {thing} on deck {n} was inspected in the morning and found to be in working order.",
    "The engineer wrote that the {thing} makes a noise above {n} degrees and should be replaced before winter.",
    "Nobody on the night watch of day {n} reported anything unusual about the {thing}.",
    "A spare part for the {thing} was ordered under number {n}, and it arrived a week later than promised.",
)
_THINGS = ("pump", "boiler", "rudder", "generator", "crane", "radar", "winch", "compressor", "ventilator", "anchor")

INSTRUCTION = (
    "You are a classifier of customer reviews. Read the review and decide about its sentiment. "
    "Answer with exactly one word and nothing else: the word positive if the customer is happy with what they bought, "
    "the word negative if the customer is unhappy, disappointed or angry. Do not explain the answer. Do not repeat the "
    "review. Do not write a sentence. Reviews may be ironic, may contain spelling mistakes, may speak about delivery, "
    "price, quality or service, and may be written in haste. When a review holds praise and blame, decide by what "
    "weighs more for the customer in the end. Examples: 'Works as described, I would buy it again' is positive. "
    "'Broke on the second day and nobody answers my mails' is negative. 'Cheap, but it does its job' is positive. "
    "'Beautiful, but far too small for what it costs' is negative."
)
_REVIEWS = (
    "I loved this {thing} from the first day.", "The {thing} stopped working after a week.",
    "Best {thing} I have ever had.", "The {thing} came late and was scratched.",
    "My family uses the {thing} every day.", "I want my money back for this {thing}.",
)  # fmt: skip


def story(number: int) -> str:
    """The `number`th of 2,000 requests for a long text."""
    heroes, places, finds = len(_HEROES), len(_PLACES), len(_FINDS)
    number %= heroes * places * finds
    hero = _HEROES[number % heroes]
    place = _PLACES[(number + number // heroes) % places]
    find = _FINDS[(number // heroes + number // (heroes * places)) % finds]
    return f"Write a long and detailed story about {hero} {place} who finds {find}."


def report(mark: str, sentences: int) -> str:
    """A long document. `mark` stands at its start, so that two of them share no prefix."""
    lines = itertools.cycle(_SENTENCES)
    things = itertools.cycle(_THINGS)
    body = " ".join(next(lines).format(n=n, thing=next(things)) for n in range(1, sentences + 1))
    return f"Report {mark}. {body}"


def review(number: int) -> str:
    """A short text to classify; two in a row differ."""
    thing = _THINGS[number // len(_REVIEWS) % len(_THINGS)]
    return _REVIEWS[number % len(_REVIEWS)].format(thing=thing) + f" Order {number}."
