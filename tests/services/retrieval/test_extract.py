from __future__ import annotations

import re

import pytest

from services.contracts.errors import InvalidRequest
from services.retrieval.decode import decode
from services.retrieval.extract import extract, kind_of
from services.retrieval.isolate import read_apart
from services.retrieval.read import Job, read
from tests.services.retrieval.pdfs import bomb, encrypted, looping, pdf


def said(kind: str, data: bytes) -> list[str]:
    return [block.text for block in extract(kind, data).blocks]


def test_html_gives_what_a_reader_sees() -> None:
    page = b"""<html><head><title> My
      page </title><style>p{}</style></head><body><nav>Menu</nav><h1>Top <b>line</b></h1><p>One &amp; two<br>three</p>
      <script>alert(1)</script><pre>a
  b</pre><ul><li>x<li>y</ul><table><tr><td>k</td><td>v</td></tr></table><p hidden>secret</p></body></html>"""
    found = extract("text/html", page)
    assert found.title == "My page"
    assert [block.text for block in found.blocks] == ["Top line", "One & two", "three", "a\n  b", "x", "y", "k | v"]
    assert found.blocks[0].level == 1
    assert found.blocks[3].kind == "code"


def test_html_says_its_own_charset() -> None:
    assert said("text/html", '<meta charset="iso-8859-2"><p>Łódź</p>'.encode("iso-8859-2")) == ["Łódź"]
    assert said("text/html", b'<meta charset="rot13"><p>plain</p>') == ["plain"]
    assert said("text/html", b'<meta charset="no-such"><p>plain</p>') == ["plain"]


def test_deep_nesting_is_read() -> None:
    assert said("text/html", b"<div>" * 1000 + b"deep" + b"</div>" * 1000) == ["deep"]


def test_text_may_be_utf16_and_loses_its_control_characters() -> None:
    assert decode("héllo".encode("utf-16")) == "héllo"
    assert decode(b"\xef\xbb\xbfa\r\nb\0c\x1b[0m") == "a\nb c [0m"


def test_few_bad_bytes_are_replaced_and_many_are_refused() -> None:
    assert decode(b"gr\xfcn und blau") == "gr\ufffdn und blau"
    with pytest.raises(InvalidRequest, match="not text"):
        decode(bytes(range(256)) * 4)
    with pytest.raises(InvalidRequest, match="not text"):
        decode(b"PK\x03\x04" + b"\0" * 1000)


@pytest.mark.parametrize("kind", ["text/plain", "text/markdown", "text/html"])
def test_document_without_text_is_refused(kind: str) -> None:
    with pytest.raises(InvalidRequest, match="no text"):
        extract(kind, b" \n\n ")


def test_kind_is_told_by_bytes_before_claims() -> None:
    assert kind_of("a.txt", "text/plain", b"%PDF-1.7 ...") == "application/pdf"
    assert kind_of("notes.md", "application/octet-stream", b"# x") == "text/markdown"
    assert kind_of("x", "text/x-python; charset=utf-8", b"x") == "text/plain"
    with pytest.raises(InvalidRequest, match="first bytes"):
        kind_of("a.pdf", "application/pdf", b"<html>")
    with pytest.raises(InvalidRequest, match="cannot read"):
        kind_of("a.png", "image/png", b"\x89PNG")


def test_pdf_gives_its_pages_and_title() -> None:
    outcome = read(Job("application/pdf", pdf(["Tariff 2024", "The deposit is 80 francs."], title="Tariffs"), 900))
    assert outcome.title == "Tariffs"
    assert [(chunk.page, chunk.text) for chunk in outcome.chunks] == [
        (1, "Tariff 2024"),
        (2, "The deposit is 80 francs."),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.7\n garbage", "broken|no text"),
        (pdf(["hello"])[:200], "broken|no text"),
        (looping(), "broken|no text|longer|memory|failed"),
        (encrypted(), "password"),
        (pdf([""]), "no text"),
    ],
)
async def test_bad_pdf_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    outcome = await read_apart(Job("application/pdf", data, 900), timeout_s=60)
    assert not outcome.chunks
    assert re.search(reason, outcome.refusal), outcome.refusal


async def test_pdf_bomb_harms_nobody() -> None:
    outcome = await read_apart(Job("application/pdf", bomb(), 900), timeout_s=4)
    assert outcome.refusal


async def test_nesting_without_end_is_given_up() -> None:
    outcome = await read_apart(Job("text/html", b"<div>" * 400_000 + b"deep", 900), timeout_s=3)
    assert "longer than 3 s" in outcome.refusal


async def test_reader_that_takes_too_long_is_killed() -> None:
    outcome = await read_apart(Job("text/plain", b"x" * 100, 900), timeout_s=0.001)
    assert "longer than" in outcome.refusal
