"""Cuts a document into passages: along headings and paragraphs, then sentences, then words. Pure.

Nothing is lost and nothing is said twice: but for white space, the passages in order are the blocks in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

import msgspec

from services.retrieval.blocks import Block

VERSION = "1"  # of the way to cut; a document cut in another way is cut again

# Joints between pieces: white space or nothing at all, so that leaving them out loses nothing.
_LINE = re.compile(r"\n")
_ITEM = re.compile(r"\n(?=[ \t]{0,8}(?:[-*+|]|\d{1,9}[.)]))")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"')\]])\s+|(?<=[。！？])")  # noqa: RUF001 - Chinese full stops
_WORD = re.compile(r"\s+")
_TRAIL = " › "  # noqa: RUF001 - the usual mark between the steps of a path of headings
_MAX_TRAIL_CHARS = 200


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """A passage, with the headings it stands under and the page it begins on (from 1)."""

    text: str
    trail: str = ""
    page: int | None = None


def cut(blocks: list[Block], limit_chars: int) -> list[Chunk]:
    """Passages of at most `limit_chars` characters.

    A heading begins a passage and stays with what follows it; no passage spans pages; code is kept whole if it fits.
    """
    chunks: list[Chunk] = []
    path: list[tuple[int, str]] = []
    held: list[str] = []
    trail, page, only_headings = "", None, True

    def flush() -> None:
        nonlocal only_headings
        if held:
            chunks.append(Chunk("\n\n".join(held), trail, page))
        held.clear()
        only_headings = True

    for block in blocks:
        if block.kind == "heading":
            if not only_headings:
                flush()
            while path and path[-1][0] >= block.level:
                path.pop()
            path.append((block.level, block.title))
        for piece in pieces(block, limit_chars):
            size = sum(map(len, held)) + 2 * len(held) + len(piece)
            if held and (size > limit_chars or block.page != page):
                flush()
            if not held:
                page = block.page
            trail = _TRAIL.join(title for _, title in path if title)[-_MAX_TRAIL_CHARS:]
            held.append(piece)
            only_headings = only_headings and block.kind == "heading"
    flush()
    return chunks


def pieces(block: Block, limit_chars: int) -> Iterator[str]:
    """The text of a block in pieces that fit, cut at the coarsest joints that do."""
    code = block.kind == "code"
    text = block.text.strip("\n") if code else block.text.strip()
    if text.strip():
        yield from _fit(text, limit_chars, (_LINE,) if code else (_ITEM, _SENTENCE, _WORD))


def _fit(text: str, limit_chars: int, joints: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    if len(text) <= limit_chars:
        if text.strip():
            yield text
        return
    if not joints:
        parts = (text[start : start + limit_chars] for start in range(0, len(text), limit_chars))
        yield from (part for part in parts if part.strip())
        return
    begin = end = resume = 0  # text[begin:end] is the piece so far, the next one would begin at `resume`
    spans = ((found.start(), found.end()) for found in joints[0].finditer(text))
    for stop, after in chain(spans, [(len(text), len(text))]):
        if stop - begin > limit_chars and end > begin:
            yield from _fit(text[begin:end], limit_chars, joints[1:])
            begin = resume
        end, resume = stop, after
    if begin < len(text):
        yield from _fit(text[begin:], limit_chars, joints[1:])
