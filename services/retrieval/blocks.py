"""The parts of a document: headings, paragraphs, code. Pure."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Kind = Literal["heading", "paragraph", "code"]

_HEADING = re.compile(r"^ {0,3}(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")


class Block(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part. `level` is that of a heading, from 1; `title` is a heading's text without its marks."""

    kind: Kind
    text: str
    level: int = 0
    title: str = ""
    page: int | None = None


class Extract(msgspec.Struct, frozen=True):
    """What a document says."""

    title: str
    blocks: list[Block]


def of_text(text: str, page: int | None = None) -> list[Block]:
    """Plain text: paragraphs are what blank lines separate."""
    return [Block("paragraph", part, page=page) for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def of_markdown(text: str) -> list[Block]:
    """Markdown: ATX and setext headings, fenced code, paragraphs. Everything else counts as a paragraph.

    Source: https://spec.commonmark.org/0.31.2/ sections 4.2, 4.3 and 4.5.
    """
    found: list[Block] = []
    lines: list[str] = []
    fence = ""

    def end(kind: Kind = "paragraph") -> None:
        if any(line.strip() for line in lines):
            found.append(Block(kind, "\n".join(lines)))
        lines.clear()

    for line in text.split("\n"):
        if fence:
            lines.append(line)
            mark = line.strip()
            if mark.startswith(fence) and not mark.strip(fence[0]):
                end("code")
                fence = ""
        elif opened := _FENCE.match(line):
            end()
            fence = opened.group(1)
            lines.append(line)
        elif heading := _HEADING.match(line):
            end()
            found.append(Block("heading", line, len(heading.group(1)), _unmarked(line[heading.end() :])))
        elif len(lines) == 1 and lines[0].strip() and (under := _UNDERLINE.match(line)):
            title = lines[0].strip()
            found.append(Block("heading", f"{lines[0]}\n{line}", 1 if under.group(1)[0] == "=" else 2, title))
            lines.clear()
        elif line.strip():
            lines.append(line)
        else:
            end()
    end("code" if fence else "paragraph")
    return found


def _unmarked(heading: str) -> str:
    """A heading's text without the closing run of hashes. No expression: a long run would cost its square."""
    text = heading.strip()
    bare = text.rstrip("#")
    return bare.rstrip() if bare != text and (not bare or bare[-1] in " \t") else text


def title_of(blocks: list[Block]) -> str:
    """The first heading of the highest rank, or nothing."""
    headings = [block for block in blocks if block.kind == "heading" and block.title]
    return min(headings, key=lambda block: block.level).title if headings else ""
