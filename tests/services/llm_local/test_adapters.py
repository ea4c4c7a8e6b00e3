"""LoRA adapters over the real model that comes with the project."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from services.bus.memory import MemoryBus
from services.contracts.catalog import LlmLocal
from services.contracts.errors import ConfigError
from services.llm_local.service import LocalModel
from services.worker.service import Surroundings
from tests.support.direct import chat, serving
from tests.support.lora import adapter
from tests.support.running import SMALL

STORY = "Write a sentence about a fox."


def service(folder: Path, *adapters: dict[str, Any]) -> LocalModel:
    fields = {**SMALL, "slots": 1, "context_tokens": 256, "adapters": adapters}
    return LocalModel(LlmLocal.model_validate(fields), Surroundings(MemoryBus(), "small", "small-1", str(folder)))


async def answer(folder: Path, *adapters: dict[str, Any]) -> tuple[str, str]:
    """What it says, greedily, and what it calls itself."""
    async with serving(MemoryBus(), service(folder, *adapters)) as direct:
        text, _ = await direct.text(chat(STORY, temperature=0.0, max_tokens=16))
        return text, direct.worker.beat().model


async def test_an_adapter_changes_what_the_model_says_by_its_scale(tmp_path: Path) -> None:
    made = adapter(tmp_path / "bend.gguf")
    entry = {"source": "file:bend.gguf", "sha256": made.sha256}
    plain, name = await answer(tmp_path)
    bent, bent_name = await answer(tmp_path, entry)
    off, off_name = await answer(tmp_path, {**entry, "scale": 0.0})
    assert bent != plain
    assert off == plain
    assert (bent_name, off_name) == (f"{name}+bend", f"{name}+bend*0")


async def test_several_adapters_work_together(tmp_path: Path) -> None:
    one, two = adapter(tmp_path / "one.gguf"), adapter(tmp_path / "two.gguf", seed=1)
    both = [{"source": f"file:{it.path}", "sha256": it.sha256, "scale": 0.5} for it in (one, two)]
    alone, _ = await answer(tmp_path, both[0])
    together, name = await answer(tmp_path, *both)
    assert alone != together
    assert name.endswith("+one*0.5+two*0.5")


async def test_an_adapter_of_another_model_stops_the_start(tmp_path: Path) -> None:
    other = adapter(tmp_path / "other.gguf", width=64)
    with pytest.raises(ConfigError, match="no adapter for this model"):
        await service(tmp_path, {"source": "file:other.gguf", "sha256": other.sha256}).start()


async def test_an_adapter_that_is_another_file_or_cut_off_stops_the_start(tmp_path: Path) -> None:
    made = adapter(tmp_path / "bend.gguf")
    with pytest.raises(ConfigError, match="sha256 expected"):
        await service(tmp_path, {"source": "file:bend.gguf", "sha256": "0" * 64}).start()
    cut = made.path.read_bytes()[:-1000]
    (tmp_path / "cut.gguf").write_bytes(cut)

    with pytest.raises(ConfigError, match="truncated"):
        await service(tmp_path, {"source": "file:cut.gguf", "sha256": sha256(cut).hexdigest()}).start()
