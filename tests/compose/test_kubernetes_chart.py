"""The deployment for Kubernetes with the official NATS chart. The chart itself cannot be had where these tests run.

So it is rendered as far as our values go: its configuration is put together by the chart's own rules, and a real server
reads it. What the chart has of its own is written down here as it was seen when Helm rendered it.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.bus.nats_bus import Login, connect
from services.contracts.errors import NotAuthorized
from tests.support.nats import configured

COMPOSE = Path(__file__).parents[2] / "compose"
FOLDER = COMPOSE / "kubernetes-chart"
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text())
NATS: dict[str, Any] = next(
    found
    for found in yaml.safe_load_all((COMPOSE / "kubernetes" / "nats.yaml").read_text())
    if found["kind"] == "StatefulSet"
)["spec"]["template"]
DOCUMENTED = {
    *("config.cluster.enabled", "config.cluster.replicas", "config.cluster.merge", "config.merge"),
    *("config.jetstream.enabled", "config.jetstream.fileStore.pvc.size"),
    *("container.env", "container.merge", "container.patch"),
    *("podTemplate.merge", "podTemplate.patch", "podTemplate.topologySpreadConstraints"),
    "podTemplate.configChecksumAnnotation",
    *("headlessService.name", "service.enabled", "natsBox.enabled", "reloader.enabled"),
}
"""What the chart's values.yaml documents, of what is set here. Below `merge` and `patch` others decide."""
MOUNTED = {"config": "/etc/nats-config", "pid": "/var/run/nats", "nats-js": "/data"}
"""The chart's own volumes, by name, and where its container has them. The first holds `nats.conf`."""
OURS = {patch["value"]["name"]: patch["value"]["mountPath"] for patch in VALUES["container"]["patch"]}


def leaves(found: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in found.items():
        here = f"{path}{name}"
        if here in DOCUMENTED or not isinstance(value, dict):
            yield here
        else:
            yield from leaves(value, f"{here}.")


def test_the_chart_is_the_official_one_in_a_fixed_version() -> None:
    (chart,) = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["helmCharts"]
    assert (chart["name"], chart["releaseName"]) == ("nats", "nats")
    assert chart["repo"] == "https://nats-io.github.io/k8s/helm/charts/"
    assert re.fullmatch(r"\d+\.\d+\.\d+", chart["version"])
    assert (FOLDER / chart["valuesFile"]).exists()


def test_only_values_are_set_that_the_chart_documents() -> None:
    assert set(leaves(VALUES)) == DOCUMENTED


def test_its_pods_are_locked_in_as_ours_are() -> None:
    (ours,) = NATS["spec"]["containers"]
    pod, container = VALUES["podTemplate"]["merge"]["spec"], VALUES["container"]["merge"]
    assert pod["securityContext"] == NATS["spec"]["securityContext"]
    assert pod["automountServiceAccountToken"] is NATS["spec"]["automountServiceAccountToken"] is False
    assert container == {"securityContext": ours["securityContext"], "resources": ours["resources"]}
    assert VALUES["podTemplate"]["merge"]["metadata"]["labels"].items() <= NATS["metadata"]["labels"].items()
    mounted = {patch["value"]["name"] for patch in VALUES["container"]["patch"]}
    assert mounted == {patch["value"]["name"] for patch in VALUES["podTemplate"]["patch"]}


def test_what_is_mounted_beside_the_charts_volumes_takes_nothing_from_them() -> None:
    assert not OURS.keys() & MOUNTED.keys()
    for ours in OURS.values():
        assert not any(posixpath.commonpath([ours, theirs]) in (ours, theirs) for theirs in MOUNTED.values())


def test_each_include_names_a_file_that_is_mounted() -> None:
    volumes = {patch["value"]["name"]: patch["value"] for patch in VALUES["podTemplate"]["patch"]}
    files = {
        posixpath.join(OURS[name], item["path"])
        for name, volume in volumes.items()
        for item in (volume.get("configMap") or volume["secret"])["items"]
    }
    included = [path for name, path in VALUES["config"]["merge"].items() if name.endswith("$include")]
    assert included
    assert {posixpath.normpath(posixpath.join(MOUNTED["config"], path)) for path in included} <= files


def test_a_changed_configuration_rolls_the_servers_where_nothing_reloads_them() -> None:
    assert VALUES["reloader"]["enabled"] is False
    assert VALUES["podTemplate"]["configChecksumAnnotation"] is True  # not left to the chart, whose default changed


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {name for name in base.keys() & over.keys() if isinstance(base[name], dict) and isinstance(over[name], dict)}
    return base | over | {name: merged(base[name], over[name]) for name in both}


def configuration() -> str:
    """The `nats.conf` that the chart writes: its own part, ours merged into it, as JSON with includes and variables."""
    own = {
        "server_name": "<< $SERVER_NAME >>",
        "lame_duck_grace_period": "10s",
        "lame_duck_duration": "30s",
        "pid_file": f"{MOUNTED['pid']}/nats.pid",
        "port": 4222,
        "http_port": 8222,
        "jetstream": {
            "store_dir": MOUNTED["nats-js"],
            "max_memory_store": 0,
            "max_file_store": f"<< {VALUES['config']['jetstream']['fileStore']['pvc']['size']} >>",
        },
        "cluster": {
            "name": "nats",
            "port": 6222,
            "no_advertise": True,
            "routes": [f"nats://nats-{number}.nats:6222" for number in range(VALUES["config"]["cluster"]["replicas"])],
        },
    }
    whole = merged(own, VALUES["config"]["merge"] | {"cluster": VALUES["config"]["cluster"]["merge"]})
    text = json.dumps(whole, indent=2, sort_keys=True)
    text = re.sub(r'".*\$include": "(.*)",?', r"include \1;", text)
    return re.sub(r'"<<\s+(.*)\s+>>"', r"\1", text)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "secrets"
    subprocess.run([sys.executable, str(COMPOSE / "make_secrets.py"), str(folder)], check=True)
    return folder


async def test_a_server_with_what_the_chart_makes_of_our_values_knows_its_users(tmp_path: Path, secrets: Path) -> None:
    folder = tmp_path / "etc" / "nats-config"
    (secrets / "nats_cluster_kubernetes").rename(secrets / "nats_cluster")
    folder.mkdir(parents=True)
    (tmp_path / "etc" / "nats").mkdir()
    shutil.copy(COMPOSE / "kubernetes" / "nats.conf", tmp_path / "etc" / "nats")
    text = configuration().replace(MOUNTED["nats-js"], str(tmp_path / "data")).replace(MOUNTED["pid"], str(tmp_path))
    text = re.sub("4222|6222|8222", "-1", text)
    (folder / "nats.conf").write_text(text)
    with configured(folder / "nats.conf") as url:
        password = (secrets / "nats_gateway").read_text().strip()
        await (await connect(url, name="test", login=Login("gateway", password), timeout_s=10)).close()
        with pytest.raises(NotAuthorized):
            await connect(url, name="test", login=Login("gateway", "guessed"), timeout_s=3)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here to build the kustomization with")
def test_what_the_chart_replaces_is_gone_and_nothing_else() -> None:
    def built(folder: Path) -> set[tuple[str, str]]:
        made = subprocess.run(["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True).stdout
        return {(found["kind"], found["metadata"]["name"]) for found in yaml.safe_load_all(made)}

    whole, rest = built(COMPOSE / "kubernetes"), built(FOLDER / "without-nats")
    assert whole - rest == {("Service", "nats"), ("StatefulSet", "nats"), ("PodDisruptionBudget", "nats")}
    assert rest < whole
