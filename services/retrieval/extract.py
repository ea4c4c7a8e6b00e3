"""From the bytes of a document to its blocks. Pure, but for what the parsers allocate: large or intricate documents
go through `isolate`, in a process that may be killed.
"""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

from services.contracts.errors import InvalidRequest
from services.retrieval.blocks import Extract, of_markdown, of_text, title_of
from services.retrieval.decode import decode

_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s{0,5}=\s{0,5}[\"']?([a-zA-Z0-9_:.-]{1,40})", re.IGNORECASE)
_BY_SUFFIX = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".pdf": "application/pdf",
}
_ALIASES = {
    "text/x-markdown": "text/markdown",
    "application/xhtml+xml": "text/html",
    "application/x-pdf": "application/pdf",
}
_TEXT_LIKE = frozenset(
    {"application/json", "application/yaml", "application/x-yaml", "application/toml", "application/xml"}
)


def kind_of(source: str, mime: str, data: bytes) -> str:
    """`text/plain`, `text/markdown`, `text/html` or `application/pdf`: by the bytes, then by what is said of them.

    Raises:
        InvalidRequest: none of these.
    """
    stated = mime.partition(";")[0].strip().lower()
    stated = _ALIASES.get(stated, stated)
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "application/pdf"
    if stated == "application/pdf":
        raise InvalidRequest("said to be a PDF, but its first bytes are not those of one")
    if stated in ("text/markdown", "text/html"):
        return stated
    if stated in ("", "application/octet-stream", "text/plain"):
        by_name = _BY_SUFFIX.get(PurePosixPath(source.partition("?")[0]).suffix.lower(), "text/plain")
        if by_name == "application/pdf":
            raise InvalidRequest("named like a PDF, but its first bytes are not those of one")
        return by_name
    if stated.startswith("text/") or stated in _TEXT_LIKE:
        return "text/plain"
    raise InvalidRequest(f"cannot read {stated[:80]!r}: only text, Markdown, HTML and PDF")


def extract(kind: str, data: bytes) -> Extract:
    """The blocks of a document of a kind that `kind_of` gave.

    Raises:
        InvalidRequest: it cannot be read, or there is no text in it.
    """
    if kind == "application/pdf":
        from services.retrieval.pdf import read_pdf  # noqa: PLC0415 - 0.1 s of import that only PDFs are worth

        found = read_pdf(data)
    elif kind == "text/html":
        from services.retrieval.html import read_html  # noqa: PLC0415 - as above

        found = read_html(decode(data, _html_charset(data)))
    else:
        text = decode(data)
        blocks = of_markdown(text) if kind == "text/markdown" else of_text(text)
        found = Extract(title_of(blocks), blocks)
    if not any(block.text.strip() for block in found.blocks):
        raise InvalidRequest("there is no text in it")
    return found


def _html_charset(data: bytes) -> str:
    """What the page says of itself. Source: https://html.spec.whatwg.org/#prescan-a-byte-stream-to-determine-its-encoding"""
    found = _CHARSET.search(data[:1024])
    if found is None:
        return "utf-8"
    try:
        codec = codecs.lookup(found.group(1).decode("ascii"))
    except LookupError:
        return "utf-8"
    # Python's codecs include some that are no text encodings at all, and UTF-16 cannot be said in ASCII.
    is_text = getattr(codec, "_is_text_encoding", True) and not codec.name.startswith(("utf-16", "utf-32", "utf-7"))
    return codec.name if is_text else "utf-8"
