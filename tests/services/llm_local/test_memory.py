"""What a thousand requests of every kind leave behind: nothing."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest

from services.bus.memory import MemoryBus
from services.contracts.catalog import LlmLocal
from services.contracts.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from services.contracts.events import Delta, Event, Finished
from services.contracts.messages import (
    ChatRequest,
    EmbedRequest,
    Message,
    Request,
    ResponseFormat,
    Sampling,
    Task,
    ToolSpec,
)
from services.llm_local import source
from services.llm_local.service import LocalModel
from services.worker.service import Job, Surroundings
from tests.support.shallow import write_shallow

REQUESTS = 1000
AT_ONCE = 4
MOST_LEFT_BYTES = 1_500_000  # seen: 0.1 to 0.4 million; 300 grammars that nobody frees: 4.4 million
TOOL = ToolSpec("look", "Looks", {"type": "object", "properties": {"at": {"enum": ["a", "b"]}}, "required": ["at"]})
SCHEMA = {"type": "object", "properties": {"mood": {"enum": ["happy", "sad"]}}, "required": ["mood"]}


def request(number: int, dice: random.Random) -> Request:
    """One of ten kinds. Prompts are few, so that most of their cells are found and the test is about the rest."""
    words = f"Say {dice.choice(('one', 'two', 'three'))}.{' Please.' * dice.randrange(4)}"
    few = dice.randint(1, 3)
    messages = (Message("user", words),)
    kinds: list[Request] = [
        ChatRequest(messages, sampling=Sampling(temperature=0.0, max_tokens=few)),
        ChatRequest(messages, sampling=Sampling(temperature=1.0, max_tokens=few, seed=number, repeat_penalty=1.1)),
        ChatRequest(messages, sampling=Sampling(temperature=0.0, max_tokens=2, logprobs=True, top_logprobs=4)),
        ChatRequest(messages, sampling=Sampling(temperature=0.0, max_tokens=2, logit_bias={5: -1.0}, stop=("x",))),
        ChatRequest(messages, response_format=ResponseFormat("json_schema", SCHEMA), sampling=Sampling(max_tokens=2)),
        ChatRequest(messages, response_format=ResponseFormat("json_object"), sampling=Sampling(max_tokens=2)),
        ChatRequest(messages, tools=(TOOL,), tool_choice="look", sampling=Sampling(temperature=0.0, max_tokens=2)),
        ChatRequest((Message("user", "word " * 300),)),
        ChatRequest(messages, sampling=Sampling(temperature=7.0)),
        EmbedRequest(("x",)),
    ]
    return kinds[number % len(kinds)]


async def ask(local: LocalModel, number: int, dice: random.Random) -> None:
    """Ask, and leave early now and then."""
    task = Task(f"t{number}", f"t{number}", "small", request(number, dice), "inbox", time.time() + 60)
    job, leaves = Job(task), dice.random() < 0.2
    try:
        async with aclosing(cast("AsyncGenerator[Event, None]", local.run(task, job))) as events:
            async for event in events:
                if leaves and isinstance(event, Delta | Finished):
                    break
    except (ContextLengthExceeded, InvalidRequest, Unsupported):
        assert number % 10 > 6


async def ask_many(local: LocalModel, numbers: range, seed: int) -> None:
    waiting = iter(numbers)
    dice = random.Random(seed)  # noqa: S311 - a repeatable test

    async def one() -> None:
        for number in waiting:
            await ask(local, number, dice)

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))


def resident_bytes() -> int:
    """Of this process, after everything free has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and asks glibc to give memory back")
async def test_a_thousand_mixed_requests_leave_no_memory_and_no_cell_behind(smollm_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "shallow.gguf"
    write_shallow(smollm_path, path, 1)
    spec = LlmLocal(
        kind="llm_local",
        source=f"file:{path}",
        sha256=source.digest(path),
        slots=AT_ONCE,
        context_tokens=256,
    )
    local = LocalModel(spec, Surroundings(MemoryBus(), "small", "small-1", "."))
    await local.start()
    try:
        await ask_many(local, range(100), 1)  # whatever is kept for good has been made after these
        assert await local.engine.audit(drop=True) == []
        before = resident_bytes()
        await ask_many(local, range(REQUESTS), 2)
        assert await local.engine.audit(drop=True) == []
        left = resident_bytes() - before
        assert local.engine.stats.kv_used_ratio == 0
        assert left < MOST_LEFT_BYTES
    finally:
        await local.stop()
