"""The real Prometheus within a deployment, and what Grafana and KEDA would ask it.

It is compose.yaml's own service, with an image of Debian's package.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from tests.containers.deployment import PROMETHEUS, TOP, Deployment, docker, eventually

FOLDER = TOP / "compose" / "observability"
_PORT = 9090
_VARIABLES = {"$__range": "5m", "$__rate_interval": "1m"}  # what Grafana would put there


@dataclass(frozen=True)
class Row:
    """One series of an answer."""

    labels: Mapping[str, str]
    value: float

    @property
    def is_number(self) -> bool:
        return math.isfinite(self.value)


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API. The bus network has no way out, but this machine has a way in."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def ask(self, query: str, at_s: float | None = None) -> list[Row]:
        """What a query gives, now or at a time (seconds since the epoch)."""
        found = self.get("query", query=query, **({} if at_s is None else {"time": f"{at_s:.3f}"}))
        if found["resultType"] == "scalar":
            return [Row({}, float(found["result"][1]))]
        return [Row(row["metric"], float(row["value"][1])) for row in found["result"]]

    def number(self, query: str, at_s: float | None = None) -> float:
        """The one number that a query gives; 0 where there is no such series yet."""
        rows = self.ask(query, at_s)
        assert len(rows) <= 1, f"{query}: {rows}"
        return rows[0].value if rows else 0.0

    def by_component(self, query: str) -> dict[str, float]:
        return {row.labels["component"]: row.value for row in self.ask(query)}

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("targets", state="active")["activeTargets"]
        return found


@contextmanager
def watched(system: Deployment) -> Iterator[Prometheus]:
    """Prometheus runs in the deployment, and has read each gateway, while the block does."""
    here = TOP / "tests" / "containers"
    build = ("build", "-q", "-f", str(here / "prometheus.Containerfile"), "-t", PROMETHEUS)
    docker(*build, "--build-arg", f"BASE_IMAGE={os.environ['BASE_IMAGE']}", str(here), timeout_s=300)
    system.compose("up", "-d", "--no-build", "--pull", "never", "--no-deps", "--wait", "prometheus")
    try:
        (container,) = system.containers("prometheus")
        (network,) = container["NetworkSettings"]["Networks"].values()
        it = Prometheus(f"http://{network['IPAddress']}:{_PORT}")
        eventually(lambda: _answers(it), "Prometheus answers")
        eventually(lambda: [t for t in it.targets() if t["health"] == "up"], "it has read a gateway")
        yield it
    finally:
        system.compose("rm", "-s", "-f", "-v", "prometheus", check=False)


def _answers(it: Prometheus) -> bool:
    try:
        return httpx.get(f"{it.url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def panels() -> list[tuple[str, str]]:
    """The dashboard's queries, as Grafana would send them, with the titles of their panels."""
    board = json.loads((FOLDER / "turnout.json").read_text())
    return [(panel["title"], _filled(target["expr"])) for panel in board["panels"] for target in panel["targets"]]


def _filled(query: str) -> str:
    for name, value in _VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, "a variable that nobody fills in here"
    return query


def panel(title: str) -> str:
    (query,) = (query for found, query in panels() if found == title)
    return query


def triggers() -> dict[str, dict[str, str]]:
    """By component: what KEDA would ask, and from which number on it would start more."""
    documents = yaml.safe_load_all((TOP / "compose" / "kubernetes" / "scalers" / "scalers.yaml").read_text())
    return {it["spec"]["scaleTargetRef"]["name"]: it["spec"]["triggers"][0]["metadata"] for it in documents}
