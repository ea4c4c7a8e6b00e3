"""The stack on a Swarm of one machine: rolled to a new version under load, and taken back when that is broken."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.deployment import docker, eventually
from tests.containers.stack import Stack, inspected, stacked
from tests.containers.test_changes import asked_all_the_time

STACK = "turnout-swarm"


def derived(target: str, tag: str, more: str) -> None:
    """An image of another version: the same, and one line more."""
    text = f"FROM turnout/{target}:latest\n{more}\n"
    command = [os.environ["TURNOUT_DOCKER"], "build", "-q", "-t", f"turnout/{target}:{tag}", "-"]
    subprocess.run(
        command, input=text, text=True, check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "1"}
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacked(Path(tmp_path_factory.mktemp("swarm")), stack=STACK) as it:
        yield it


def update(service: str, image: str) -> None:
    docker("service", "update", "-q", "-d", "--no-resolve-image", "--image", image, f"{STACK}_{service}")


def update_state(service: str) -> str:
    return str(inspected(f"{STACK}_{service}").get("UpdateStatus", {}).get("State", ""))


def image(service: str) -> str:
    return str(inspected(f"{STACK}_{service}")["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"])


@pytest.mark.parametrize("service", ["router", "tools"])
def test_a_new_version_comes_in_under_load_without_a_failed_request(stack: Stack, service: str) -> None:
    target = {"tools": "agents"}.get(service, service)
    derived(target, "next", "LABEL version=next")
    with asked_all_the_time(stack, "tools") as load:
        update(service, f"turnout/{target}:next")
        eventually(lambda: update_state(service) == "completed", "it is rolled out", 240)
    assert load.answered > 0
    assert load.failed == []


def test_a_broken_version_is_taken_back_under_load(stack: Stack) -> None:
    before = image("tools")
    derived("agents", "broken", 'ENTRYPOINT ["false"]')
    with asked_all_the_time(stack, "tools") as load:
        update("tools", "turnout/agents:broken")
        eventually(lambda: update_state("tools") == "rollback_completed", "it was taken back", 180)
    assert image("tools") == before
    assert load.answered > 0
    assert load.failed == []


def test_scaling_by_the_swarm(stack: Stack) -> None:
    docker("service", "scale", "-d", f"{STACK}_tools=3")
    eventually(lambda: len(stack.ready("tools")) == 3, "three serve", 120)
    docker("service", "scale", "-d", f"{STACK}_tools=1")
    eventually(lambda: len(stack.ready("tools")) == 1, "one serves", 120)
