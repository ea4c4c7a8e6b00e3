"""Whoever else is served, comes or leaves: an answer is the one that its prompt has alone, and no cell is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from services.bus.memory import MemoryBus
from services.contracts.catalog import LlmLocal
from services.contracts.events import Delta, Event, Finished
from services.contracts.messages import ChatRequest, Message, Sampling, Task
from services.llm_local import source
from services.llm_local.service import LocalModel
from services.worker.service import Job, Surroundings
from tests.support.shallow import write_shallow

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOTS = 4
CONTEXT = 400  # below 512: see docs/engine.md about an answer that is alone in the engine
REQUESTS = 80
MOST_TOKENS = 40
LONG_ANSWER_TOKENS = 300
FOX = "Once upon a time a small fox lived near the river and liked to talk to the birds about the weather. "


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(smollm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalModel]:
    """Two of the model's thirty blocks: what is tested does not depend on their number, and it is much faster."""
    path = tmp_path_factory.mktemp("model") / "shallow.gguf"
    write_shallow(smollm_path, path, 2)
    spec = LlmLocal(
        kind="llm_local", source=f"file:{path}", sha256=source.digest(path), slots=SLOTS, context_tokens=CONTEXT
    )
    made = LocalModel(spec, Surroundings(MemoryBus(), "small", "small-1", "."))
    await made.start()
    yield made
    await made.stop()


def prompt(dice: random.Random) -> str:
    """Some share a long beginning, some share little; from a few tokens to more than one chunk reads at once."""
    return FOX * dice.choice((0, 0, 1, 3, 8)) + f"Tell me about {dice.choice(('rain', 'snow', 'the sea', 'number 7'))}."


def stream(local: LocalModel, text: str, max_tokens: int) -> AsyncGenerator[Event, None]:
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    request = ChatRequest((Message("user", text),), stream=True, sampling=sampling)
    task = Task("t", "t", "small", request, "inbox", time.time() + 120)
    return cast("AsyncGenerator[Event, None]", local.run(task, Job(task)))


async def answer(local: LocalModel, text: str, max_tokens: int, leave_after: int) -> tuple[str, Finished | None]:
    """The text of an answer, or its beginning if it is left after so many pieces."""
    said, end = "", None
    async with aclosing(stream(local, text, max_tokens)) as events:
        async for event in events:
            if isinstance(event, Finished):
                end = event
            elif isinstance(event, Delta):
                said += event.text
                leave_after -= 1
                if leave_after == 0:
                    break
    return said, end


async def piece(events: AsyncGenerator[Event, None]) -> str:
    """The next piece of text; empty at the end."""
    async for event in events:
        if isinstance(event, Delta) and event.text:
            return event.text
    return ""


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_joins_leaves_and_lengths_mix_no_text_and_lose_no_cell(local: LocalModel, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a repeatable test
    prompts = sorted({prompt(dice) for _ in range(12)})
    await local.engine.audit(drop=True)
    alone = {text: (await answer(local, text, MOST_TOKENS, -1))[0] for text in prompts}
    assert len(set(alone.values())) > len(prompts) / 2  # else a mixed-up text could not be told
    await local.engine.audit(drop=True)
    left = iter(range(REQUESTS))

    async def one() -> None:
        for _ in left:
            text, tokens, leave = dice.choice(prompts), dice.randint(1, MOST_TOKENS), dice.choice((1, 3, 9, -1, -1))
            said, end = await answer(local, text, tokens, leave)
            assert alone[text].startswith(said)
            if end is not None and end.usage.output_tokens == MOST_TOKENS:
                assert said == alone[text]
            if dice.random() < 0.2:
                assert await local.engine.audit() == []  # in the middle of everybody's work

    # More at once than there are slots, and more than there are sequences.
    await asyncio.gather(*(one() for _ in range(SLOTS + 3)))
    assert await local.engine.audit() == []
    assert not any(lane.busy for lane in local.engine._lanes)
    assert local.engine.stats.prefix_hit_tokens > 0
    assert await local.engine.audit(drop=True) == []
    assert local.engine.stats.kv_used_ratio == 0


async def test_an_answer_that_is_moved_into_a_gap_goes_on_as_if_alone(local: LocalModel) -> None:
    """Random company may leave no gap that pays: each freed sequence goes to the next who waits."""
    texts = [f"Tell me about {thing}." for thing in ("rain", "snow", "the sea")]
    await local.engine.audit(drop=True)
    alone = [(await answer(local, text, LONG_ANSWER_TOKENS, -1))[0] for text in texts]
    await local.engine.audit(drop=True)
    moved = local.engine.stats.moved_sequences
    joined: list[AsyncGenerator[Event, None]] = []
    places: list[int] = []
    said: list[str] = []
    for text in texts:  # each writes before the next one comes
        joined.append(stream(local, text, LONG_ANSWER_TOKENS))
        said.append(await piece(joined[-1]))
        places += [lane.index for lane in local.engine._lanes if lane.busy and lane.index not in places]
    middle = sorted(range(3), key=places.__getitem__)[1]
    await joined[middle].aclose()
    for at in {0, 1, 2} - {middle}:
        while more := await piece(joined[at]):
            said[at] += more
        assert said[at] == alone[at]
    assert local.engine.stats.moved_sequences > moved
    assert await local.engine.audit() == []
