"""What the engine's promise of equal answers rests on. A new llama.cpp may break it: then this says so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from services.llm_local.native import Context, Floats, Model
from services.llm_local.scheduler import MAX_CHUNK_TOKENS

PROMPT = 150


@pytest.fixture(scope="module")
def context(model: Model) -> Iterator[Context]:
    made = model.new_context(sequences=3, context_tokens=256, batch_tokens=128, threads=2, embeddings=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def tokens(model: Model) -> list[int]:
    return model.tokenize(
        "The fox went down to the river to talk to the birds about the weather. " * 12, special=False
    )[:PROMPT]


def read(context: Context, tokens: list[int], chunk: int, owner: int = 0, start: int = 0) -> Floats:
    """The logits after a prompt read in chunks."""
    context.forget(owner, start)
    found: Floats | None = None
    for at in range(start, len(tokens), chunk):
        part = tokens[at : at + chunk]
        found = context.prefill(part, at, owner, last=at + len(part) == len(tokens))
    assert found is not None
    last: Floats = found[0].copy()
    return last


@pytest.mark.parametrize("chunk", [1, 17, 48])
def test_how_a_prompt_was_cut_changes_no_bit(context: Context, tokens: list[int], chunk: int) -> None:
    assert np.array_equal(read(context, tokens, MAX_CHUNK_TOKENS), read(context, tokens, chunk))


def test_copied_prefix_gives_the_same_bits_as_a_computed_one(context: Context, tokens: list[int]) -> None:
    whole = read(context, tokens, MAX_CHUNK_TOKENS)
    context.copy(0, 2)
    assert np.array_equal(read(context, tokens, MAX_CHUNK_TOKENS, owner=2, start=100), whole)
    assert context.held(2) == PROMPT


def test_a_sequence_that_was_moved_goes_on_with_the_same_bits(context: Context, tokens: list[int]) -> None:
    read(context, tokens, MAX_CHUNK_TOKENS, owner=2)
    stayed = context.decode_step([tokens[0]], [PROMPT], [2])[0].copy()
    context.forget(2, PROMPT)
    context.copy(2, 0)
    context.forget(2, 0)
    assert np.array_equal(context.decode_step([tokens[0]], [PROMPT], [0])[0], stayed)
    assert (context.held(0), context.held(2)) == (PROMPT + 1, 0)


def test_company_changes_no_bit(context: Context, tokens: list[int]) -> None:
    read(context, tokens, MAX_CHUNK_TOKENS, owner=1)
    alone = context.decode_step([tokens[0]], [PROMPT], [1])[0].copy()
    context.forget(1, PROMPT)
    read(context, tokens[:40], MAX_CHUNK_TOKENS, owner=0)
    read(context, tokens[:77], MAX_CHUNK_TOKENS, owner=2)
    together = context.decode_step([7, tokens[0], 9], [40, PROMPT, 77], [0, 1, 2])[1].copy()
    assert np.array_equal(alone, together)
