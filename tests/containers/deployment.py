"""A deployment by Compose: up, looked at from outside, and taken down without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI

from tests.support.running import free_port

TOP = Path(__file__).parents[2]
CLOUD_KEY = "sk-of-the-tests"
PROMETHEUS = "turnout/test-prometheus"


def docker(*arguments: str, check: bool = True, timeout_s: float = 120) -> str:
    """What the engine's client says."""
    done = subprocess.run(
        [os.environ["TURNOUT_DOCKER"], *arguments], capture_output=True, text=True, check=False, timeout=timeout_s
    )
    assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def eventually(look: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """What `look` gives once that is true."""
    give_up_s = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < give_up_s, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.25)
    return found


@dataclass(frozen=True)
class Deployment:
    """The system, up."""

    port: int
    environment: Mapping[str, str]
    secrets: Path
    project: str
    files: tuple[Path, ...]

    @property
    def label(self) -> str:
        """By which the engine knows what is part of it."""
        return f"com.docker.compose.project={self.project}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return (self.secrets / "gateway_keys").read_text().split()[0]

    @property
    def admin_key(self) -> str:
        return (self.secrets / "admin_keys").read_text().strip()

    def client(self) -> OpenAI:
        """The official client, pointed at the published port."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=120)

    def http(self, key: str | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {key or self.key}"}, timeout=120)

    def compose(self, *arguments: str, check: bool = True, timeout_s: float = 600) -> str:
        command = [
            *os.environ["TURNOUT_COMPOSE"].split(),
            *("-p", self.project),
            *(part for file in self.files for part in ("-f", str(file))),
            *arguments,
        ]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout_s
        )
        assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stderr[-4000:]}"
        return done.stdout

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """What the engine knows of the containers that run, of all or of one service."""
        ids = docker("ps", "-q", "--filter", f"label={self.label}").split()
        found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
        return [container for container in found if not service or self.service_of(container) == service]

    def service_of(self, container: dict[str, Any]) -> str:
        """The service whose container this is."""
        name: str = container["Config"]["Labels"]["com.docker.compose.service"]
        return name

    def restart(self, service: str) -> None:
        """Return when its one container is another, and well."""
        docker("restart", "-t", "10", self.containers(service)[0]["Id"])
        eventually(lambda: self.containers(service)[0]["State"]["Health"]["Status"] == "healthy", "it is well")

    def ready(self, component: str) -> list[dict[str, Any]]:
        """The beats of the instances that serve."""
        with self.http() as http:
            found = http.get("/v1/status").json()
        rows = [c["instances"] for c in found["components"] if c["name"] == component]
        rows += [[b for b in found["processes"] if b["kind"] == component]]
        return [beat for instances in rows for beat in instances if beat["state"] == "ready"]

    def logs(self) -> str:
        return self.compose("logs", "--no-color")


def made_secrets(folder: Path) -> Path:
    secrets = folder / "secrets"
    subprocess.run([sys.executable, str(TOP / "compose" / "make_secrets.py"), str(secrets)], check=True)
    (secrets / "openai_key").write_text(CLOUD_KEY)
    return secrets


@contextmanager
def deployed(
    folder: Path,
    *files: str,
    project: str = "turnout-test",
    prepare: Callable[[Deployment], object] = lambda _deployment: None,
    **environment: str,
) -> Iterator[Deployment]:
    """Up while the block runs. Afterwards nothing is left: no container, network or volume.

    Args:
        files: of `compose/`, on top of `compose.yaml` and of what the tests add to it.
        prepare: called before it is started.
    """
    secrets = made_secrets(folder)
    port = free_port()
    everything = {
        **os.environ,
        "COMPOSE_PROFILES": "full",
        "TURNOUT_SECRETS": str(secrets),
        "TURNOUT_CATALOG": str(TOP / "tests" / "containers" / "turnout.yaml"),
        "TURNOUT_PORT": str(port),
        "TURNOUT_PORTS": f"{port}-{port + 1}",  # for two gateways
        "PROMETHEUS_IMAGE": PROMETHEUS,  # its profile is not up: who wants it starts it
        **environment,
    }
    added = (TOP / "tests" / "containers" / "compose.yaml", *(TOP / "compose" / file for file in files))
    it = Deployment(port, everything, secrets, project, (TOP / "compose" / "compose.yaml", *added))
    it.compose("--profile", "*", "down", "-v", "--remove-orphans", check=False)  # a run that was killed leaves things
    try:
        prepare(it)
        it.compose("up", "-d", "--no-build", "--pull", "never", "--wait", "--wait-timeout", "300")
        eventually(lambda: httpx.get(f"{it.url}/health/ready").status_code == 200, "the whole system serves", 120)
        yield it
    except BaseException:
        sys.stderr.write(
            it.compose("ps", "-a", check=False) + it.compose("logs", "--no-color", "--tail", "60", check=False)
        )
        raise
    finally:
        it.compose("--profile", "*", "down", "-v", "--remove-orphans", "--timeout", "20", check=False)
    for kind in ("container", "network", "volume"):
        more = ("-a",) if kind == "container" else ()
        left = docker(kind, "ls", "-q", *more, "--filter", f"label={it.label}")
        assert not left, f"{kind} left behind: {left}"
