"""The manifests for Kubernetes: against the official schemas, and against the rules that hold for containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.contracts.catalog_file import load

COMPOSE = Path(__file__).parents[2] / "compose"
FOLDER = COMPOSE / "kubernetes"
VERSION = "1.33"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    found for name in KUSTOMIZATION["resources"] for found in yaml.safe_load_all((FOLDER / name).read_text())
]
PODS = {o["metadata"]["name"]: o["spec"]["template"] for o in OBJECTS if o["kind"] in {"Deployment", "StatefulSet"}}
CATALOG = load(COMPOSE / "turnout.yaml")


def name_of(found: dict[str, Any]) -> str:
    return f"{found['kind']}-{found['metadata']['name']}"


@pytest.mark.parametrize("found", OBJECTS, ids=name_of)
def test_each_object_is_one_that_kubernetes_takes(found: dict[str, Any]) -> None:
    kubernetes_validate.validate(found, VERSION, strict=True)


@pytest.mark.parametrize("name", list(PODS))
def test_each_pod_is_locked_in_and_watched(name: str) -> None:
    spec = PODS[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


def test_ports_of_services_name_their_protocol() -> None:
    # Server-side apply takes a port by its number and protocol; older API servers have no default for the latter then.
    ports = [port for o in OBJECTS if o["kind"] == "Service" for port in o["spec"]["ports"]]
    assert [port["protocol"] for port in ports] == ["TCP"] * 3


def test_a_gateway_that_leaves_takes_requests_for_longer_than_it_takes_to_stop_sending_it_some() -> None:
    pod = PODS["gateway"]["spec"]
    (container,) = pod["containers"]
    (*_, wait) = container["lifecycle"]["preStop"]["exec"]["command"]
    assert wait == "import time; time.sleep(5)"
    drain_s = next(int(e["value"]) for e in container["env"] if e["name"] == "TURNOUT_DRAIN_S")
    assert 5 + drain_s < pod["terminationGracePeriodSeconds"]


def test_clients_of_the_bus_are_told_no_addresses_of_pods() -> None:
    # A restarted server has another address: who still tries the old one is cut off for seconds.
    assert "no_advertise: true" in (FOLDER / "ha.conf").read_text()


def test_each_component_has_a_deployment_with_its_own_login() -> None:
    assert PODS.keys() == {*CATALOG.components, "gateway", "router", "controller", "nats"}
    for name in PODS.keys() - {"nats"}:
        environment = {e["name"]: e["value"] for e in PODS[name]["spec"]["containers"][0]["env"]}
        assert environment["TURNOUT_COMPONENT"] == environment["TURNOUT_NATS_USER"] == name
        (secrets,) = (v["secret"]["items"] for v in PODS[name]["spec"]["volumes"] if "secret" in v)
        passwords = [item["key"] for item in secrets if item["key"].startswith("nats_")]
        assert passwords == [f"nats_{name}"]


def test_images_are_all_named_where_they_are_changed() -> None:
    used = {pod["spec"]["containers"][0]["image"] for pod in PODS.values()}
    assert used == {image["name"] for image in KUSTOMIZATION["images"]}


def test_nobody_is_reached_but_the_gateway_and_only_cloud_components_reach_out() -> None:
    policies = {o["metadata"]["name"]: o["spec"] for o in OBJECTS if o["kind"] == "NetworkPolicy"}
    nothing = policies.pop("nothing")
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []}
    open_doors = {
        name for name, spec in policies.items() if any("from" not in rule for rule in spec.get("ingress", ()))
    }
    ways_out = {
        name
        for name, spec in policies.items()
        if any("ipBlock" in to for rule in spec.get("egress", ()) for to in rule["to"])
    }
    assert (open_doors, ways_out) == ({"gateway"}, {"cloud"})
    clouds = {name for name, spec in CATALOG.components.items() if spec.kind == "llm_cloud"}
    assert {n for n, pod in PODS.items() if pod["metadata"]["labels"]["turnout/kind"] == "llm_cloud"} == clouds


@pytest.mark.parametrize(
    ("copy", "original"),
    [("turnout.yaml", "turnout.yaml"), ("nats.conf", "nats/nats.conf"), ("ha.conf", "nats/ha.conf")],
)
def test_configurations_are_those_of_the_other_deployments(copy: str, original: str) -> None:
    assert (FOLDER / copy).read_text() == (COMPOSE / original).read_text()
