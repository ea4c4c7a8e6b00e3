"""Runs the tool agent as a process."""

from __future__ import annotations

from agents.tools.service import ToolAgent
from services.contracts import catalog
from services.contracts.errors import ConfigError
from services.worker.process import run_component
from services.worker.service import Surroundings


def build(spec: catalog.Component, around: Surroundings) -> ToolAgent:
    """The service of a `tool_agent` section."""
    if not isinstance(spec, catalog.ToolAgent):
        raise ConfigError(f"{around.component} is not a tool agent")
    return ToolAgent(spec, around)


if __name__ == "__main__":
    run_component("tool_agent", build, needs_roster=True)
