"""One prompt whose answer code can judge, and the checks that judge it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

Check = Callable[[str], bool]

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Item:
    """A prompt with its check.

    Attributes:
        passage: a text that holds the answer, for questions asked of documents; else empty.
        max_tokens: room given to the answer, in tokens.
    """

    prompt: str
    check: Check
    system: str = ""
    passage: str = ""
    max_tokens: int = 48


Maker = Callable[[Random], Item]


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[*_`\"'“”‘’]", "", text.lower())).strip()  # noqa: RUF001 - typographic quotes are what models write


def _has(text: str, wanted: str) -> bool:
    return re.search(rf"(?<![\w]){re.escape(_plain(wanted))}(?![\w])", _plain(text)) is not None


def says(*wanted: str) -> Check:
    """The answer holds one of these as whole words, letter case aside."""
    return lambda answer: any(_has(answer, one) for one in wanted)


def says_all(*wanted: str) -> Check:
    """The answer holds every one of these."""
    return lambda answer: all(_has(answer, one) for one in wanted)


def label(right: str, others: Iterable[str]) -> Check:
    """A classification: the right label is said, and no other one is."""
    wrong = [other for other in others if other != right]
    return lambda answer: _has(answer, right) and not any(_has(answer, other) for other in wrong)


def number(right: float, tolerance: float = 1e-6) -> Check:
    """The last number of the answer is this one."""

    def check(answer: str) -> bool:
        found = _NUMBER.findall(re.sub(r"(?<=\d),(?=\d{3})", "", answer))
        return bool(found) and abs(float(found[-1]) - right) <= tolerance * max(1.0, abs(right))

    return check


def first_word(right: str, others: Iterable[str]) -> Check:
    """A yes/no answer: the first of the labels that is said is the right one."""
    labels = [right, *others]

    def check(answer: str) -> bool:
        plain = _plain(answer)
        at = {one: found.start() for one in labels if (found := re.search(rf"\b{re.escape(one)}\b", plain))}
        return bool(at) and min(at, key=lambda one: at[one]) == right

    return check


def exactly(right: str) -> Check:
    """The answer is this text and nothing else, case, quotes and a final period aside."""
    return lambda answer: _plain(answer).rstrip(".") == _plain(right).rstrip(".")


def json_with(**fields: str | int) -> Check:
    """The answer holds one JSON object with these values (compared as text, letter case aside)."""

    def check(answer: str) -> bool:
        start, end = answer.find("{"), answer.rfind("}")
        if start < 0 or end < start:
            return False
        try:
            value = json.loads(answer[start : end + 1])
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and all(_plain(str(value.get(k))) == _plain(str(v)) for k, v in fields.items())

    return check


def prose(*must: str, least_words: int = 3, most_words: int = 10_000) -> Check:
    """Free text that names what it must, keeps its length and does not go round in circles."""

    def check(answer: str) -> bool:
        words = answer.lower().split()
        if not least_words <= len(words) <= most_words or not all(_has(answer, one) for one in must):
            return False
        fours = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
        return not fours or len(set(fours)) / len(fours) > 0.8  # noqa: PLR2004 - a fifth repeated is a loop

    return check
