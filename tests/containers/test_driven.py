"""The controller exchanges and scales containers itself, with the contract it has for processes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.deployment import TOP, Deployment, deployed, docker, eventually
from tests.containers.test_changes import asked_all_the_time

CATALOG: dict[str, Any] = yaml.safe_load((TOP / "tests" / "containers" / "turnout.yaml").read_text())


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(
        Path(tmp_path_factory.mktemp("driven")),
        "compose.driven.yaml",
        project="turnout-driven",
        prepare=lambda it: it.compose("--profile", "templates", "create", "--no-build", "--pull", "never"),
        COMPOSE_PROFILES="",
        DOCKER_GID=str(Path("/var/run/docker.sock").stat().st_gid),
    ) as it:
        yield it


def serving(driven: Deployment, count: int) -> bool:
    return len(driven.ready("small")) == count


def changed(**small: Any) -> str:
    components = {**CATALOG["components"], "small": {**CATALOG["components"]["small"], **small}}
    return yaml.safe_dump({**CATALOG, "components": components})


def test_a_swap_under_load_fails_no_request_and_touches_nothing_else(driven: Deployment) -> None:
    (old,), (tools,) = driven.ready("small"), driven.ready("tools")
    with asked_all_the_time(driven, "small") as load, driven.http(driven.admin_key) as http:
        done = http.put("/admin/catalog", content=changed(context_tokens=1024), timeout=180)
        assert done.status_code == 200, done.text
        eventually(lambda: len(driven.ready("small")) == 1, "the old one has left", 90)
    (new,) = driven.ready("small")
    assert new["instance"] != old["instance"]
    assert new["generation"] == old["generation"] + 1
    assert driven.ready("tools")[0]["started_s"] == tools["started_s"]
    assert load.answered > 0
    assert load.failed == []


def test_a_bad_catalog_is_refused_and_nothing_changes(driven: Deployment) -> None:
    before = driven.ready("small")[0]["started_s"]
    with driven.http(driven.admin_key) as http:
        done = http.put("/admin/catalog", content=changed(sha256="0" * 64), timeout=180)
    assert done.status_code == 400, done.text
    assert "sha256" in done.json()["error"]["message"]
    assert driven.ready("small")[0]["started_s"] == before


def test_scaling_goes_up_and_down(driven: Deployment) -> None:
    with asked_all_the_time(driven, "small") as load, driven.http(driven.admin_key) as http:
        for count in (3, 1):
            done = http.post("/admin/scale", json={"component": "small", "count": count}, timeout=180)
            assert done.status_code == 200, done.text
            eventually(partial(serving, driven, count), f"{count} serve", 120)
    assert load.answered > 0
    assert load.failed == []


def test_a_killed_container_is_replaced_by_the_controller(driven: Deployment) -> None:
    (before,) = driven.ready("tools")
    (container,) = driven.containers("tools")
    docker("kill", container["Id"])
    eventually(lambda: [b for b in driven.ready("tools") if b["started_s"] > before["started_s"]], "tools serves", 60)


def test_the_containers_outlive_their_controller(driven: Deployment) -> None:
    before = {c["Id"] for c in driven.containers() if "turnout.instance" in c["Config"]["Labels"]}
    docker("restart", "-t", "10", driven.containers("controller")[0]["Id"])
    eventually(lambda: driven.containers("controller")[0]["State"]["Health"]["Status"] == "healthy", "it is well")
    with driven.http(driven.admin_key) as http:
        done = http.post("/admin/scale", json={"component": "small", "count": 2}, timeout=180)
        assert done.status_code == 200, done.text
    after = {c["Id"] for c in driven.containers() if "turnout.instance" in c["Config"]["Labels"]}
    assert before < after


def test_only_the_keeper_reaches_the_engine(driven: Deployment) -> None:
    reaching = {
        c["Config"]["Labels"]["com.docker.compose.service"]
        for c in driven.containers()
        if any("docker.sock" in mount["Source"] for mount in c["Mounts"])
    }
    assert reaching == {"keeper"}
