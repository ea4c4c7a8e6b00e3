"""`python -m services.llm_local`: the process of one local model."""

from __future__ import annotations

from services.contracts.catalog import Component, LlmLocal
from services.contracts.errors import ConfigError
from services.llm_local.service import LocalModel
from services.worker.process import run_component
from services.worker.service import Service, Surroundings


def build(spec: Component, around: Surroundings) -> Service:
    """The service of a catalog section."""
    if not isinstance(spec, LlmLocal):
        raise ConfigError(f"{around.component} is not an llm_local component")
    return LocalModel(spec, around)


if __name__ == "__main__":
    run_component("llm_local", build)
