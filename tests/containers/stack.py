"""A deployment by Docker Swarm, on a Swarm of one machine: deployed, looked at, and removed without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import httpx

from tests.containers.deployment import TOP, Deployment, docker, eventually, made_secrets
from tests.support.running import free_port


@dataclass(frozen=True)
class Stack(Deployment):
    """The system, up. `project` is the name of the stack."""

    @property
    def label(self) -> str:
        return f"com.docker.stack.namespace={self.project}"

    def service_of(self, container: dict[str, Any]) -> str:
        name: str = container["Config"]["Labels"]["com.docker.swarm.service.name"]
        return name.removeprefix(f"{self.project}_")

    def restart(self, service: str) -> None:
        (old,) = self.containers(service)
        docker("kill", "-s", "TERM", old["Id"])  # the Swarm starts another
        eventually(lambda: any(self._new_and_well(c, old) for c in self.containers(service)), "it is well")

    @staticmethod
    def _new_and_well(container: dict[str, Any], old: dict[str, Any]) -> bool:
        return bool(container["Id"] != old["Id"] and container["State"]["Health"]["Status"] == "healthy")

    def deploy(self) -> None:
        command = [os.environ["TURNOUT_DOCKER"], "stack", "deploy", "--resolve-image", "never"]
        command += [part for file in self.files for part in ("-c", str(file))]
        done = subprocess.run(
            [*command, self.project],
            cwd=TOP / "compose",
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def serves(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def logs(self) -> str:
        command = [os.environ["TURNOUT_DOCKER"], "service", "logs", "--tail", "40"]
        names = docker("service", "ls", "--format", "{{.Name}}").split()
        return "\n".join(
            subprocess.run([*command, name], check=False, text=True, stdout=PIPE, stderr=STDOUT).stdout
            for name in names
        )


@contextmanager
def stacked(folder: Path, *files: str, stack: str, **environment: str) -> Iterator[Stack]:
    """Up while the block runs. Afterwards nothing is left: no service, container, network, secret, config or volume.

    Args:
        files: of `compose/`, on top of `stack.yaml`.
    """
    secrets = made_secrets(folder)
    port = free_port()
    everything = {
        **os.environ,
        "TURNOUT_SECRETS": str(secrets),
        "TURNOUT_CATALOG": str(TOP / "compose" / "turnout.yaml"),
        "TURNOUT_PORT": str(port),
        # One gateway on a port of this machine: sharing a port among several takes IPVS, which not every kernel has.
        "TURNOUT_PUBLISH_MODE": "host",
        "TURNOUT_GATEWAY_ENDPOINT": "dnsrr",
        "TURNOUT_GATEWAYS": "1",
        **environment,
    }
    it = Stack(port, everything, secrets, stack, tuple(TOP / "compose" / file for file in ("stack.yaml", *files)))
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "active":
        others = set(docker("stack", "ls", "--format", "{{.Name}}").split()) - {stack}
        assert not others, f"this engine is in a Swarm that has other stacks: {others}"
        docker("swarm", "leave", "--force")  # a run that was killed leaves things
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        node = docker("info", "--format", "{{.Swarm.NodeID}}")
        docker("node", "update", "--label-add", "turnout.data=true", node)
        it.deploy()
        eventually(it.serves, "the whole system serves", 240)
        yield it
        remove(it)
        for kind in ("service", "network", "secret", "config"):
            left = docker(kind, "ls", "-q", "--filter", f"label={it.label}")
            assert not left, f"{kind} left behind: {left}"
    except BaseException:
        sys.stderr.write(docker("service", "ls") + docker("stack", "ps", "--no-trunc", stack, check=False) + it.logs())
        raise
    finally:
        remove(it)
        docker("swarm", "leave", "--force")
        for volume in docker("volume", "ls", "-q", "--filter", f"label={it.label}").split():
            docker("volume", "rm", volume)


def remove(it: Stack) -> None:
    docker("stack", "rm", it.project, check=False)
    eventually(lambda: not docker("ps", "-aq", "--filter", f"label={it.label}"), "its containers are gone", 120)


def inspected(service: str) -> dict[str, Any]:
    """What the Swarm knows of a service."""
    (found,) = json.loads(docker("service", "inspect", service))
    return dict(found)
