"""The system under proof: `turnout up` as a child process, and the orders it is given over HTTP."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from evals.bench.children import await_ready, child, clean_environment, free_port
from evals.prove.models import ModelFile

COMPONENT = "small"
_START_TIMEOUT_S = 120.0
_ORDER_TIMEOUT_S = 300.0
_LOOK_S = 0.05


def catalog(model: ModelFile, *, slots: int = 4, replicas: tuple[int, int] = (1, 1), **more: Any) -> dict[str, Any]:
    """A configuration with one local model and two components that no swap touches."""
    least, most = replicas
    small = {
        "kind": "llm_local",
        "source": f"file:{model.path}",
        "sha256": model.sha256,
        "slots": slots,
        "queue": 256,
        "context_tokens": 1024,
        "threads": 2,
        "replicas": {"min": least, "max": most},
    }
    components = {COMPONENT: small | more, "tools": {"kind": "tool_agent"}, "eyes": {"kind": "vision"}}
    return {"version": 1, "components": components}


@dataclass(frozen=True, slots=True)
class Answer:
    """What an order came to."""

    status: int
    body: dict[str, Any]
    asked_s: float
    done_s: float

    @property
    def ok(self) -> bool:
        """Whether it was carried out."""
        return self.status == httpx.codes.OK


@dataclass(frozen=True, slots=True)
class System:
    """A system that is up. `config` is the file it watches."""

    url: str
    config: Path
    log: Path

    async def apply(self, configuration: dict[str, Any] | str) -> Answer:
        """`PUT /admin/catalog`."""
        text = configuration if isinstance(configuration, str) else yaml.safe_dump(configuration, sort_keys=False)
        return await self._order("PUT", "/admin/catalog", content=text)

    async def scale(self, count: int) -> Answer:
        """`POST /admin/scale`."""
        return await self._order("POST", "/admin/scale", json={"component": COMPONENT, "count": count})

    def metric(self, name: str) -> float:
        """A series without labels, by its full name."""
        lines = httpx.get(f"{self.url}/metrics", timeout=10.0).text.splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[-1])

    def serving(self) -> list[dict[str, Any]]:
        """The beats of the model's instances that take work."""
        return [b for b in self.instances().values() if b["component"] == COMPONENT and b["state"] == "ready"]

    async def until_serving(self, count: int, timeout_s: float = 180.0) -> float:
        """Return when just so many serve, and after how long, seconds.

        Raises:
            TimeoutError: they do not.
        """
        began_s = time.monotonic()
        async with asyncio.timeout(timeout_s):
            while len(await asyncio.to_thread(self.serving)) != count:  # noqa: ASYNC110 - asked over HTTP
                await asyncio.sleep(_LOOK_S)
        return time.monotonic() - began_s

    async def until_gone(self) -> None:
        """Return when no instance of the model is left."""
        while any(b["component"] == COMPONENT for b in (await asyncio.to_thread(self.instances)).values()):  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(_LOOK_S)

    def instances(self) -> dict[str, dict[str, Any]]:
        """The beats of all instances by name."""
        found = httpx.get(f"{self.url}/v1/status", timeout=10.0).json()
        return {beat["instance"]: beat for component in found["components"] for beat in component["instances"]}

    async def _order(self, method: str, path: str, **content: Any) -> Answer:
        asked_s = time.monotonic()
        async with httpx.AsyncClient(base_url=self.url, timeout=_ORDER_TIMEOUT_S, trust_env=False) as http:
            response = await http.request(method, path, **content)
        return Answer(response.status_code, response.json(), asked_s, time.monotonic())


@contextmanager
def running(folder: Path, configuration: dict[str, Any]) -> Iterator[System]:
    """A system for as long as the block runs."""
    port, log, config = free_port(), folder / "turnout.log", folder / "turnout.yaml"
    config.write_text(yaml.safe_dump(configuration, sort_keys=False))
    turnout = Path(sys.executable).with_name("turnout")
    command = (turnout, "up", "--config", config, "--port", str(port), "--state-dir", folder / "state")
    with child(command, log, clean_environment()) as process:
        url = f"http://127.0.0.1:{port}"
        await_ready(process, f"{url}/health/ready", log, _START_TIMEOUT_S, lambda _took_s: None)
        yield System(url, config, log)
