"""An answer in the documents' own words: the passages that bear on the question, each with its source. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.contracts.events import Passage

ENOUGH = 0.5  # relevance
MOST = 3
_NEAR = 0.6  # of the best one's relevance: what is far below it only dilutes the answer


def chosen(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """Those worth quoting, the most relevant first."""
    fit = sorted((p for p in passages if p.relevance >= ENOUGH), key=lambda passage: -passage.relevance)
    return tuple(p for p in fit[:MOST] if p.relevance >= _NEAR * fit[0].relevance)


def quoted(number: int, passage: Passage) -> str:
    """One passage with its citation."""
    page = f", page {passage.page}" if passage.page is not None else ""
    return f"{passage.text}\n[{number}] {passage.source}{page}"


def nothing(documents: int) -> str:
    """What to say when no passage bears on the question."""
    if documents == 0:
        return "There are no documents to search yet."
    held = "the one document" if documents == 1 else f"the {documents} documents"
    return f"I found nothing in {held} that bears on this question."


def until(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first of the stop sequences."""
    return text[: min((at for word in stop if word and (at := text.find(word)) >= 0), default=len(text))]
