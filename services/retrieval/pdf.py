"""PDF to blocks, a page at a time. Only ever run in a child process (see `isolate`): a PDF can cost anything."""

from __future__ import annotations

import io

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from services.contracts.errors import InvalidRequest
from services.retrieval.blocks import Block, Extract, of_text
from services.retrieval.decode import MAX_TEXT_CHARS, clean

MAX_PAGES = 3000
# What pypdf raises on broken files beside its own errors: it trusts structures that a file may get wrong.
_BROKEN = (
    PyPdfError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RecursionError,
    OSError,
    ZeroDivisionError,
)


def read_pdf(data: bytes) -> Extract:
    """The text of all pages, in order.

    Raises:
        InvalidRequest: broken, locked with a password, too long, or without text.
    """
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidRequest("the PDF is locked with a password")
        count = len(reader.pages)
    except NotImplementedError as error:
        raise InvalidRequest("the PDF is encrypted in a way that cannot be opened here") from error
    except ImportError as error:
        raise InvalidRequest("the PDF is encrypted with AES, which needs a library that is not installed") from error
    except _BROKEN as error:
        raise InvalidRequest(f"the PDF is broken ({type(error).__name__})") from error
    if count > MAX_PAGES:
        raise InvalidRequest(f"the PDF has {count} pages; at most {MAX_PAGES} are read")
    blocks, broken = _pages(reader, count)
    if not blocks:
        why = f"{broken} of its {count} pages are broken" if broken else "its pages may be scanned images"
        raise InvalidRequest(f"no text in the PDF: {why}")
    return Extract(_title(reader), blocks)


def _pages(reader: PdfReader, count: int) -> tuple[list[Block], int]:
    blocks: list[Block] = []
    chars = broken = 0
    for number in range(count):
        try:
            text = clean(reader.pages[number].extract_text())
        except _BROKEN:
            broken += 1  # one bad page must not cost the reader the others
            continue
        chars += len(text)
        if chars > MAX_TEXT_CHARS:
            raise InvalidRequest(f"more than {MAX_TEXT_CHARS} characters of text")
        blocks.extend(of_text(text, number + 1))
    return blocks, broken


def _title(reader: PdfReader) -> str:
    try:
        title = reader.metadata.title if reader.metadata is not None else None
    except _BROKEN:
        return ""
    return clean(str(title)).strip()[:200] if title else ""
