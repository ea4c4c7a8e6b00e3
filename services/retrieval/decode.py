"""Bytes as text that everything behind this can take. Pure."""

from __future__ import annotations

import codecs

from services.contracts.errors import InvalidRequest

MAX_TEXT_CHARS = 20_000_000
_MAX_UNREADABLE = 0.05
_FEW_UNREADABLE = 8
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Control characters that no text has: all of C0 but tab, newline, form feed and carriage return, and DEL.
_CONTROLS = dict.fromkeys([*range(9), 11, *range(14, 32), 127], " ")


def decode(data: bytes, charset: str = "utf-8") -> str:
    """Bytes as text with `\\n` line ends, without control characters or lone surrogates.

    Raises:
        InvalidRequest: it is not text, or too much of it.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            data, charset = data[len(mark) :], name
            break
    text = data.decode(charset, "replace")
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidRequest(f"more than {MAX_TEXT_CHARS} characters of text")
    plain = clean(text)
    unreadable = plain.count("\ufffd") + text.count("\0")
    if text and unreadable > _FEW_UNREADABLE and unreadable / len(text) > _MAX_UNREADABLE:
        raise InvalidRequest(f"not text: {unreadable} of {len(text)} characters are unreadable as {charset}")
    return plain


def clean(text: str) -> str:
    """Text that every part behind this one can take: no NUL, no control character, no lone surrogate."""
    text = text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n").translate(_CONTROLS)
