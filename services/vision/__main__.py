"""Runs the vision component as a process."""

from __future__ import annotations

from services.contracts.catalog import Component, Vision
from services.contracts.errors import ConfigError
from services.vision.service import VisionService
from services.worker.process import run_component
from services.worker.service import Surroundings


def build(spec: Component, around: Surroundings) -> VisionService:
    """The service of a `vision` section."""
    if not isinstance(spec, Vision):
        raise ConfigError(f"{around.component} is not a vision component")
    return VisionService(spec, around)


if __name__ == "__main__":
    run_component("vision", build)
