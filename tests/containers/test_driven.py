"""The controller exchanges and scales containers itself, with the contract it has for processes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.deployment import TOP, Deployment, deployed, docker, eventually
from tests.containers.prometheus import panel, watched
from tests.containers.stack import stacked
from tests.containers.test_changes import asked_all_the_time

CATALOG = TOP / "tests" / "containers" / "turnout.yaml"
SOCKET = Path("/var/run/docker.sock")


@pytest.fixture(scope="module", params=["compose", "swarm"])
def driven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = Path(tmp_path_factory.mktemp("driven"))
    group = str(SOCKET.stat().st_gid)
    if request.param == "swarm":
        catalog = yaml.safe_load(CATALOG.read_text())
        catalog["components"] = {name: catalog["components"][name] for name in ("small", "tools")}
        (folder / "turnout.yaml").write_text(yaml.safe_dump(catalog))
        more = {"TURNOUT_CATALOG": str(folder / "turnout.yaml"), "DOCKER_GID": group, "TURNOUT_STARTED": "0"}
        with stacked(folder, "stack.driven.yaml", stack="turnout-driven", **more) as stack:
            yield stack
        return
    with deployed(
        folder,
        "compose.driven.yaml",
        project="turnout-driven",
        prepare=lambda it: it.compose("--profile", "templates", "create", "--no-build", "--pull", "never"),
        COMPOSE_PROFILES="",
        DOCKER_GID=group,
    ) as it:
        yield it


def serving(driven: Deployment, count: int) -> bool:
    return len(driven.ready("small")) == count


def changed(driven: Deployment, **small: Any) -> str:
    catalog = yaml.safe_load(Path(driven.environment["TURNOUT_CATALOG"]).read_text())
    catalog["components"]["small"] |= small
    return yaml.safe_dump(catalog)


def copies(driven: Deployment, component: str = "") -> dict[str, str]:
    """The containers that the keeper has made, with the name of the instance in each."""
    found = ((c["Id"], c["Config"]["Labels"]) for c in driven.containers())
    return {
        id_: labels["turnout.instance"]
        for id_, labels in found
        if "turnout.instance" in labels and component in {"", labels["turnout.component"]}
    }


def test_a_swap_under_load_fails_no_request_and_touches_nothing_else(driven: Deployment) -> None:
    (old,), (tools,) = driven.ready("small"), driven.ready("tools")
    with asked_all_the_time(driven, "small") as load, driven.http(driven.admin_key) as http:
        done = http.put("/admin/catalog", content=changed(driven, context_tokens=1024), timeout=180)
        assert done.status_code == 200, done.text
        eventually(lambda: len(driven.ready("small")) == 1, "the old one has left", 90)
    (new,) = driven.ready("small")
    assert new["instance"] != old["instance"]
    assert new["generation"] == old["generation"] + 1
    assert driven.ready("tools")[0]["started_s"] == tools["started_s"]
    assert load.answered > 0
    assert load.failed == []


@pytest.mark.parametrize("driven", ["compose"], indirect=True)  # stack.yaml has no Prometheus
def test_a_swap_is_seen_on_the_dashboard(driven: Deployment) -> None:
    with watched(driven) as prometheus, driven.http(driven.admin_key) as http:

        def generations() -> set[str]:
            rows = prometheus.ask(panel("Swaps: instances by generation"))
            return {row.labels["generation"] for row in rows if row.labels["component"] == "small"}

        eventually(lambda: len(generations()) == 1, "what an earlier test has swapped is gone", 90)
        (old,), swaps = generations(), prometheus.number(panel("Swaps"))
        done = http.put("/admin/catalog", content=changed(driven, context_tokens=1536), timeout=180)
        assert done.status_code == 200, done.text
        eventually(lambda: prometheus.number(panel("Swaps")) == swaps + 1, "it has seen the swap")
        eventually(lambda: len(generations()) == 1, "the old generation is gone", 90)
        assert generations() == {str(int(old) + 1)}


def test_a_bad_catalog_is_refused_and_nothing_changes(driven: Deployment) -> None:
    before = driven.ready("small")[0]["started_s"]
    with driven.http(driven.admin_key) as http:
        done = http.put("/admin/catalog", content=changed(driven, sha256="0" * 64), timeout=180)
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
    (container,) = copies(driven, "tools")
    docker("kill", container)
    eventually(lambda: [b for b in driven.ready("tools") if b["started_s"] > before["started_s"]], "tools serves", 60)


def test_the_containers_outlive_their_controller(driven: Deployment) -> None:
    before = copies(driven)
    driven.restart("controller")
    with driven.http(driven.admin_key) as http:
        done = http.post("/admin/scale", json={"component": "small", "count": 2}, timeout=180)
        assert done.status_code == 200, done.text
    assert before.items() < copies(driven).items()


def test_only_the_keeper_reaches_the_engine(driven: Deployment) -> None:
    reaching = {
        driven.service_of(c)
        for c in driven.containers()
        if any("docker.sock" in mount["Source"] for mount in c["Mounts"])
    }
    assert reaching == {"keeper"}
