"""Runs the screen agent as a process."""

from __future__ import annotations

from agents.screen.service import ScreenAgent
from services.contracts import catalog
from services.contracts.errors import ConfigError
from services.worker.process import run_component
from services.worker.service import Surroundings


def build(spec: catalog.Component, around: Surroundings) -> ScreenAgent:
    """The service of a `screen_agent` section."""
    if not isinstance(spec, catalog.ScreenAgent):
        raise ConfigError(f"{around.component} is not a screen agent")
    return ScreenAgent(spec, around)


if __name__ == "__main__":
    run_component("screen_agent", build, needs_roster=True)
