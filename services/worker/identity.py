"""Who a process is, told to it by its environment."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from services.bus.nats_bus import Login
from services.contracts.errors import ConfigError


@dataclass(frozen=True)
class Identity:
    """Who this process is, from its environment."""

    nats_url: str
    component: str
    instance: str
    generation: int
    drain_s: float
    standby: bool = False
    patience_s: float = 0.0
    nats_login: Login | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls) -> Identity:
        """Read `TURNOUT_NATS_URL`, `_COMPONENT`, `_INSTANCE`, `_GENERATION`, `_DRAIN_S`, `_STANDBY` and `_PATIENCE_S`.

        On stand-by, a process is built from the catalog that is to come, and serves only when it is told to. A
        container is told its name on the bus in `TURNOUT_NATS_USER` and finds its password in the file
        `TURNOUT_NATS_PASSWORD_FILE`; without these, the URL has both. An instance without a name takes one that is
        unique among containers and processes. Containers start in any order: the patience is how long one waits for the
        bus and the catalog.

        Raises:
            ConfigError: the file with the password cannot be read.
        """
        env = os.environ
        component = env.get("TURNOUT_COMPONENT", "")
        return cls(
            nats_url=env.get("TURNOUT_NATS_URL", "nats://127.0.0.1:4222"),
            component=component,
            instance=env.get("TURNOUT_INSTANCE") or _own_name(component),
            generation=int(env.get("TURNOUT_GENERATION", "1")),
            drain_s=float(env.get("TURNOUT_DRAIN_S", "3")),
            standby=env.get("TURNOUT_STANDBY") == "1",
            patience_s=float(env.get("TURNOUT_PATIENCE_S", "0")),
            nats_login=_login(env.get("TURNOUT_NATS_USER", ""), env.get("TURNOUT_NATS_PASSWORD_FILE", "")),
        )


def _own_name(component: str) -> str:
    """One token of a subject. Every container has a host name of its own, and its process is number 1 in it."""
    host = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())
    return f"{component}-{host}-{os.getpid()}"


def _login(user: str, password_file: str) -> Login | None:
    if not user:
        return None
    try:
        return Login(user, Path(password_file).read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"TURNOUT_NATS_PASSWORD_FILE ({password_file or 'not set'}) cannot be read") from error
