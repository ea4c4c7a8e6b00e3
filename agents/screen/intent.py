"""What a screen and a question are about, as a small piece of JSON.

A model is asked first. The smallest models write JSON that fits the schema and means nothing, so its answer counts only
if its search words come from the screen or the question; else the intent is computed from the two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

Kind = Literal["question", "error", "form", "invoice", "other"]

MAX_SUMMARY_CHARS = 160  # short, because a small model writes as long as it may, and the user waits
MAX_QUERY_CHARS = 100
_LEAST_GROUNDED = 0.5
_MAX_QUERY_WORDS = 16


class Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user is looking at and wants. `search_query` is what to look up in the documents."""

    kind: Kind
    summary: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SUMMARY_CHARS)]
    search_query: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_QUERY_CHARS)]


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["question", "error", "form", "invoice", "other"]},
        "summary": {"type": "string", "maxLength": MAX_SUMMARY_CHARS},
        "search_query": {"type": "string", "maxLength": MAX_QUERY_CHARS},
    },
    "required": ["kind", "summary", "search_query"],
    "additionalProperties": False,
}
"""The form asked of the model. The lengths are those that `Intent` accepts."""

_WORD = re.compile(r"\w[\w'-]*", re.UNICODE)
_CODE = re.compile(r"\b(?:0x[0-9a-fA-F]{3,}|[A-Z]{2,}[-_ ]?\d{2,}|(?:HTTP |code |error )\d{3,5})\b")
# What words on a screen say about its kind, strongest first. Only for when no model could tell.
_CUES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("invoice", re.compile(r"\b(invoice|amount due|subtotal|vat|total due|rechnung|facture)\b", re.IGNORECASE)),
    (
        "error",
        re.compile(
            r"\b(error|failed|failure|exception|denied|cannot|could not|not found|fatal|crash\w*)\b", re.IGNORECASE
        ),
    ),
    (
        "form",
        re.compile(r"\b(password|sign in|log in|submit|required field|first name|e-?mail address)\b", re.IGNORECASE),
    ),
)
_STOP_WORDS = frozenset(
    """
    a an and are as at be by can could do does for from has have how i in is it its me my of on or please should show so
    tell that the their there this to was what when where which who why will with you your screen image picture
    """.split()  # noqa: SIM905 - sixty quoted words are no easier to read
)


class Useless(ValueError):
    """A model's answer that is no intent. The message says why, for the trace."""


def parse(text: str, question: str, lines: Sequence[str]) -> Intent:
    """The intent a model wrote.

    Raises:
        Useless: not the JSON asked for, or about something else than what is on the screen.
    """
    try:
        intent = msgspec.json.decode(text.strip(), type=Intent)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Useless(f"not the JSON asked for: {error}") from error
    known = words(" ".join((question, *lines)))
    wanted = content_words(intent.search_query)
    if not wanted:
        raise Useless("its search query has no word to search for")
    grounded = sum(word in known for word in wanted) / len(wanted)
    if grounded < _LEAST_GROUNDED:
        raise Useless(f"its search query has {grounded:.0%} of its words from the screen or the question")
    return intent


def compute(question: str, lines: Sequence[str]) -> Intent:
    """The intent as the words themselves tell it, with no model."""
    shown = "\n".join(lines)
    kind: Kind = next((kind for kind, cue in _CUES if cue.search(shown)), "question" if question.strip() else "other")
    query = content_words(question)
    if kind == "error" or not query:
        cue = dict(_CUES).get(kind)
        telling = [line for line in lines if _CODE.search(line) or (cue is not None and cue.search(line))]
        query += [word for line in (telling or lines)[:4] for word in content_words(line)]
    query = list(dict.fromkeys(query))[:_MAX_QUERY_WORDS]
    summary = f"{question.strip()} | {' / '.join(lines[:3])}".strip(" |") or "an image without text"
    return Intent(kind, summary[:MAX_SUMMARY_CHARS], _within(query, MAX_QUERY_CHARS) or "screen")


def _within(query: Sequence[str], most_chars: int) -> str:
    """As many words as fit, whole; one that is too long by itself is cut."""
    text = " ".join(query)[: most_chars + 1]
    return text if len(text) <= most_chars else text[:most_chars].rpartition(" ")[0] or text[:most_chars]


def words(text: str) -> frozenset[str]:
    """The words of a text, in lower case."""
    return frozenset(word.lower() for word in _WORD.findall(text))


def content_words(text: str) -> list[str]:
    """The words that carry meaning, in lower case and in order."""
    return [word.lower() for word in _WORD.findall(text) if word.lower() not in _STOP_WORDS]
