from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from services.retrieval.blocks import Block, of_markdown, of_text
from services.retrieval.chunk import cut

_SAMPLES = """# One|## Two|plain words here.|Another sentence! And a third?||- item|```py|x = 1|```|Title|=====|---|   |
### |# #########|日本。語。|1. first|> quoted|\t indented|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"""
_LINES = st.sampled_from(_SAMPLES.replace("|\n", "|").split("|"))
_TEXTS = st.lists(_LINES | st.text(max_size=80), max_size=40).map("\n".join)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@settings(max_examples=60, deadline=None)
@given(_TEXTS, st.integers(10, 200))
def test_no_text_is_lost_doubled_or_moved(text: str, limit: int) -> None:
    for blocks in (of_text(text), of_markdown(text)):
        assert squeezed("".join(chunk.text for chunk in cut(blocks, limit))) == squeezed(text)


@settings(max_examples=60, deadline=None)
@given(_TEXTS, st.integers(10, 200))
def test_no_passage_is_empty_or_over_the_limit(text: str, limit: int) -> None:
    for chunk in cut(of_markdown(text), limit):
        assert chunk.text.strip()
        assert len(chunk.text) <= limit


def test_heading_stays_with_its_text_and_becomes_the_trail() -> None:
    chunks = cut(of_markdown("# Guide\n\n## Setup\n\nInstall it.\n\n## Use\n\nRun it.\n\n# Other\n\nMore."), 200)
    assert [chunk.text for chunk in chunks] == [
        "# Guide\n\n## Setup\n\nInstall it.",
        "## Use\n\nRun it.",
        "# Other\n\nMore.",
    ]
    assert [chunk.trail for chunk in chunks] == ["Guide › Setup", "Guide › Use", "Other"]  # noqa: RUF001


def test_code_is_kept_whole_when_it_fits() -> None:
    code = "```\nfirst\n\nsecond\n```"
    chunks = cut(of_markdown("word " * 30 + "\n\n" + code + "\n\nafter"), 160)
    assert any(code in chunk.text for chunk in chunks)


def test_code_that_does_not_fit_is_cut_between_lines_and_keeps_its_indentation() -> None:
    code = Block("code", "def f():\n    one()\n    two()\n    three()")
    assert [chunk.text for chunk in cut([code], 19)] == ["def f():\n    one()", "    two()", "    three()"]


def test_long_paragraph_is_cut_between_sentences() -> None:
    chunks = cut(of_text("First sentence here. Second one is here too. Third."), 29)
    assert [chunk.text for chunk in chunks] == ["First sentence here.", "Second one is here too.", "Third."]


def test_passage_does_not_span_pages() -> None:
    chunks = cut([*of_text("one", 1), *of_text("two", 2), *of_text("three", 2)], 100)
    assert [(chunk.text, chunk.page) for chunk in chunks] == [("one", 1), ("two\n\nthree", 2)]


def test_long_lines_of_marks_cost_no_more_than_their_length() -> None:
    hostile = ["# " + " #" * 100_000 + "x", "=" * 200_000 + "x", "." * 200_000 + "'" * 200_000, "`" * 200_000]
    for text in hostile:
        assert squeezed("".join(chunk.text for chunk in cut(of_markdown(text), 900))) == squeezed(text)
