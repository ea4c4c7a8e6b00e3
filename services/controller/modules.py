"""Which Python module runs a kind. The controller starts them as programs and never imports them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

GATEWAY = "gateway"
ROUTER = "router"

MODULES: Mapping[str, str] = {
    GATEWAY: "services.gateway",
    ROUTER: "router",
    "llm_local": "services.llm_local",
    "llm_cloud": "services.llm_cloud",
    "vision": "services.vision",
    "retrieval": "services.retrieval",
    "tool_agent": "agents.tools",
    "screen_agent": "agents.screen",
}


def command(kind: str) -> tuple[str, ...]:
    """The command line of one instance of a kind.

    `-P` keeps the current folder off the module path: a user's own `router/` must not be taken for ours.
    """
    return (sys.executable, "-P", "-m", MODULES[kind])
