"""Embeddings, on a model small enough to be computed a second time in numpy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from services.bus.memory import MemoryBus
from services.contracts.catalog import LlmLocal
from services.contracts.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from services.contracts.events import Embedded, Finished
from services.contracts.messages import EmbedRequest
from services.llm_local import source
from services.llm_local.native import Floats
from services.llm_local.service import LocalModel
from services.worker.service import Surroundings
from tests.support import tiny_bert
from tests.support.direct import Direct, chat, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEIGHTS = tiny_bert.weights()
TEXT = "the fox is red"
TOKENS = [tiny_bert.CLS, 104, 105, 110, 111, tiny_bert.SEP]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def direct(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Direct]:
    path: Path = tmp_path_factory.mktemp("bert") / "tiny.gguf"
    tiny_bert.write(path, WEIGHTS)
    spec = LlmLocal(kind="llm_local", source=f"file:{path}", sha256=source.digest(path), context_tokens=64, threads=1)
    bus = MemoryBus()
    async with serving(bus, LocalModel(spec, Surroundings(bus, "bert", "bert-1", ".")), slots=4) as serving_model:
        yield serving_model


async def embedded(direct: Direct, *texts: str) -> tuple[list[Floats], int]:
    events = [event async for event in direct.events(EmbedRequest(texts))]
    [found] = [event for event in events if isinstance(event, Embedded)]
    end = events[-1]
    assert isinstance(end, Finished)
    assert found.dimensions == tiny_bert.WIDTH
    return [np.frombuffer(vector, "<f4") for vector in found.vectors], end.usage.input_tokens


async def test_vectors_are_the_models_own(direct: Direct) -> None:
    [vector], tokens = await embedded(direct, TEXT)
    assert tokens == len(TOKENS)
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert np.abs(vector - tiny_bert.embed(WEIGHTS, TOKENS)).max() < 2e-3  # llama.cpp rounds GELU to 16 bits


async def test_texts_asked_together_have_the_vectors_of_each_alone(direct: Direct) -> None:
    texts = ("the bird", TEXT, "the pump is cold")
    together, tokens = await embedded(direct, *texts)
    alone = await asyncio.gather(*(embedded(direct, text) for text in texts))
    assert tokens == sum(count for _, count in alone)
    for vector, ([expected], _) in zip(together, alone, strict=True):
        assert np.array_equal(vector, expected)


async def test_text_longer_than_the_context_is_refused_with_both_numbers(direct: Direct) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"102 tokens.*64 tokens"):
        await embedded(direct, "fox " * 100)


async def test_nothing_to_embed_is_refused(direct: Direct) -> None:
    with pytest.raises(InvalidRequest):
        await embedded(direct)


async def test_the_model_embeds_and_does_not_chat(direct: Direct) -> None:
    assert direct.worker.beat().capabilities == ("embed",)
    with pytest.raises(Unsupported, match="does not chat"):
        await direct.text(chat("Hi"))
