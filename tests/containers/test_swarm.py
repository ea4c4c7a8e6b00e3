"""The stack on a Swarm of one machine: rolled to a new version under load, and taken back when that is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.containers.deployment import TOP, Deployment, docker, eventually, made_secrets
from tests.containers.test_changes import asked_all_the_time
from tests.support.running import free_port

STACK = "turnout-swarm"


def derived(target: str, tag: str, more: str) -> None:
    """An image of another version: the same, and one line more."""
    text = f"FROM turnout/{target}:latest\n{more}\n"
    command = [os.environ["TURNOUT_DOCKER"], "build", "-q", "-t", f"turnout/{target}:{tag}", "-"]
    subprocess.run(
        command, input=text, text=True, check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "1"}
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    secrets = made_secrets(Path(tmp_path_factory.mktemp("swarm")))
    port = free_port()
    environment = {
        **os.environ,
        "TURNOUT_SECRETS": str(secrets),
        "TURNOUT_CATALOG": str(TOP / "compose" / "turnout.yaml"),
        "TURNOUT_PORT": str(port),
        # One gateway on a port of this machine: sharing a port among several takes IPVS, which not every kernel has.
        "TURNOUT_PUBLISH_MODE": "host",
        "TURNOUT_GATEWAY_ENDPOINT": "dnsrr",
        "TURNOUT_GATEWAYS": "1",
    }
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "active":
        others = set(docker("stack", "ls", "--format", "{{.Name}}").split()) - {STACK}
        assert not others, f"this engine is in a Swarm that has other stacks: {others}"
        docker("swarm", "leave", "--force")  # a run that was killed leaves things
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    it = Deployment(port, environment, secrets, STACK, ())
    try:
        node = docker("info", "--format", "{{.Swarm.NodeID}}")
        docker("node", "update", "--label-add", "turnout.data=true", node)
        deploy(it)
        eventually(lambda: ready(it), "the whole system serves", 240)
        yield it
    except BaseException:
        sys.stderr.write(docker("service", "ls") + docker("stack", "ps", "--no-trunc", STACK, check=False))
        raise
    finally:
        docker("stack", "rm", STACK, check=False)
        eventually(
            lambda: not docker("ps", "-aq", "--filter", f"label=com.docker.stack.namespace={STACK}"), "it is gone", 120
        )
        docker("swarm", "leave", "--force")
        for volume in docker("volume", "ls", "-q", "--filter", f"label=com.docker.stack.namespace={STACK}").split():
            docker("volume", "rm", volume)


def deploy(it: Deployment, **more: str) -> None:
    command = [os.environ["TURNOUT_DOCKER"], "stack", "deploy", "--resolve-image", "never", "-c", "stack.yaml", STACK]
    done = subprocess.run(
        command, cwd=TOP / "compose", env={**it.environment, **more}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def ready(it: Deployment) -> bool:
    try:
        return httpx.get(f"{it.url}/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def update(service: str, image: str) -> None:
    docker("service", "update", "-q", "-d", "--no-resolve-image", "--image", image, f"{STACK}_{service}")


def update_state(service: str) -> str:
    (found,) = json.loads(docker("service", "inspect", f"{STACK}_{service}"))
    return str(found.get("UpdateStatus", {}).get("State", ""))


def image(service: str) -> str:
    (found,) = json.loads(docker("service", "inspect", f"{STACK}_{service}"))
    return str(found["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"])


@pytest.mark.parametrize("service", ["router", "tools"])
def test_a_new_version_comes_in_under_load_without_a_failed_request(stack: Deployment, service: str) -> None:
    target = {"tools": "agents"}.get(service, service)
    derived(target, "next", "LABEL version=next")
    with asked_all_the_time(stack, "tools") as load:
        update(service, f"turnout/{target}:next")
        eventually(lambda: update_state(service) == "completed", "it is rolled out", 240)
    assert load.answered > 0
    assert load.failed == []


def test_a_broken_version_is_taken_back_under_load(stack: Deployment) -> None:
    before = image("tools")
    derived("agents", "broken", 'ENTRYPOINT ["false"]')
    with asked_all_the_time(stack, "tools") as load:
        update("tools", "turnout/agents:broken")
        eventually(lambda: update_state("tools") == "rollback_completed", "it was taken back", 180)
    assert image("tools") == before
    assert load.answered > 0
    assert load.failed == []


def test_scaling_by_the_swarm(stack: Deployment) -> None:
    docker("service", "scale", "-d", f"{STACK}_tools=3")
    eventually(lambda: len(stack.ready("tools")) == 3, "three serve", 120)
    docker("service", "scale", "-d", f"{STACK}_tools=1")
    eventually(lambda: len(stack.ready("tools")) == 1, "one serves", 120)
