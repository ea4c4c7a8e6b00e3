"""Who a process is, told to it by its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """Who this process is, from its environment."""

    nats_url: str
    component: str
    instance: str
    generation: int
    drain_s: float
    standby: bool = False

    @classmethod
    def from_environment(cls) -> Identity:
        """Read `TURNOUT_NATS_URL`, `_COMPONENT`, `_INSTANCE`, `_GENERATION`, `_DRAIN_S` and `_STANDBY`.

        On stand-by, a process is built from the catalog that is to come, and serves only when it is told to.
        """
        env = os.environ
        component = env.get("TURNOUT_COMPONENT", "")
        return cls(
            nats_url=env.get("TURNOUT_NATS_URL", "nats://127.0.0.1:4222"),
            component=component,
            instance=env.get("TURNOUT_INSTANCE") or f"{component}-{os.getpid()}",
            generation=int(env.get("TURNOUT_GENERATION", "1")),
            drain_s=float(env.get("TURNOUT_DRAIN_S", "3")),
            standby=env.get("TURNOUT_STANDBY") == "1",
        )
