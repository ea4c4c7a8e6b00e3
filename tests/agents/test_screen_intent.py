from __future__ import annotations

import pytest

from agents.screen.intent import MAX_QUERY_CHARS, MAX_SUMMARY_CHARS, Intent, Useless, compute, parse

LINES = ("Backup failed", "The destination disk is full.", "Error code: 0x80070070")


def test_good_json_is_taken() -> None:
    text = ' {"kind":"error","summary":"The backup failed.","search_query":"backup 0x80070070 disk full"}\n'
    assert parse(text, "why?", LINES) == Intent("error", "The backup failed.", "backup 0x80070070 disk full")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I think it is an error.",
        "[]",
        "null",
        '{"kind":"error"}',
        '{"kind":"disaster","summary":"s","search_query":"backup"}',
        '{"kind":"error","summary":"","search_query":"backup"}',
        '{"kind":"error","summary":"s","search_query":"backup","extra":1}',
        '{"kind":"error","summary":"s","search_query":7}',
        '{"kind":"error","summary":"s","search_query":"the of"}',
        '{"kind":"error","summary":"s","search_query":"purple elephants dance"}',
        '{"kind":"error","summary":"s","search_query":"' + "backup " * 100 + '"}',
        "[" * 100_000,
    ],
)
def test_useless_json_is_not_taken(text: str) -> None:
    with pytest.raises(Useless):
        parse(text, "why?", LINES)


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (LINES, "error"),
        (("INVOICE 2024-0117", "Total 1811.50 EUR"), "invoice"),
        (("Sign in", "E-mail address", "Password"), "form"),
        (("The cranes of the old harbour",), "question"),
    ],
)
def test_kind_is_told_by_the_words_on_the_screen(lines: tuple[str, ...], kind: str) -> None:
    assert compute("What is this?", lines).kind == kind


def test_an_error_is_looked_up_by_its_code() -> None:
    query = compute("What should I do?", ("File Edit View", *LINES)).search_query
    assert "0x80070070" in query
    assert "failed" in query


def test_intent_is_computed_from_nothing_and_from_far_too_much() -> None:
    assert compute("", ()).kind == "other"
    big = compute("why " * 5000, ["word " * 5000] * 50)
    assert len(big.summary) <= MAX_SUMMARY_CHARS
    assert len(big.search_query) <= MAX_QUERY_CHARS
