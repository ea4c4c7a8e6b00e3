from __future__ import annotations

import pytest

from services.contracts.catalog_file import parse
from services.contracts.keeper import Instance
from services.controller.environment import Settings, child_environment

CATALOG = parse(
    """\
gateway: {keys: {env: MY_GATE}}
components:
  cloud: {kind: llm_cloud, model: m, key: {env: OPENAI_API_KEY}}
  claude: {kind: llm_cloud, model: m, key: {env: TURNOUT_CLAUDE_KEY}}
  hub: {kind: llm_local, source: "hf://a/b/c.gguf@main", sha256: "SHA256"}
  eyes: {kind: vision}
""".replace("SHA256", "0" * 64)
)
PARENT = {
    "PATH": "/bin",
    "LC_ALL": "C",
    "https_proxy": "http://proxy",
    "OMP_NUM_THREADS": "1",
    "TURNOUT_LOG": "debug",
    "TURNOUT_LOG_FORMAT": "text",
    "TURNOUT_API_KEY": "client's",
    "OPENAI_API_KEY": "sk-1",
    "TURNOUT_CLAUDE_KEY": "sk-2",
    "MY_GATE": "k",
    "HF_TOKEN": "hf",
    "AWS_SECRET_ACCESS_KEY": "aws",
    "DATABASE_URL": "postgres://u:p@h/d",
}
SECRETS = {"TURNOUT_API_KEY", "OPENAI_API_KEY", "TURNOUT_CLAUDE_KEY", "MY_GATE", "HF_TOKEN"}
SECRETS |= {"AWS_SECRET_ACCESS_KEY", "DATABASE_URL"}


def environment(component: str, kind: str) -> dict[str, str]:
    instance = Instance(component, kind, f"{component}-1", 3)
    return child_environment(PARENT, CATALOG, instance, Settings("nats://turnout:pw@h:1", 9000, 3.0))


@pytest.mark.parametrize(
    ("component", "kind", "own"),
    [
        ("gateway", "gateway", {"MY_GATE"}),
        ("router", "router", set()),
        ("cloud", "llm_cloud", {"OPENAI_API_KEY"}),
        ("claude", "llm_cloud", {"TURNOUT_CLAUDE_KEY"}),
        ("hub", "llm_local", {"HF_TOKEN"}),
        ("eyes", "vision", set()),
    ],
)
def test_each_process_gets_its_own_secret_and_no_other(component: str, kind: str, own: set[str]) -> None:
    assert environment(component, kind).keys() & SECRETS == own


def test_what_programs_need_to_run_is_passed_on() -> None:
    found = environment("eyes", "vision")
    assert {name: found[name] for name in ("PATH", "LC_ALL", "https_proxy", "OMP_NUM_THREADS", "TURNOUT_LOG")} == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "https_proxy": "http://proxy",
        "OMP_NUM_THREADS": "1",
        "TURNOUT_LOG": "debug",
    }


def test_a_child_is_told_who_it_is() -> None:
    found = environment("eyes", "vision")
    assert {name: value for name, value in found.items() if name.startswith("TURNOUT_")} == {
        "TURNOUT_NATS_URL": "nats://turnout:pw@h:1",
        "TURNOUT_COMPONENT": "eyes",
        "TURNOUT_INSTANCE": "eyes-1",
        "TURNOUT_GENERATION": "3",
        "TURNOUT_DRAIN_S": "3",
        "TURNOUT_LOG": "debug",
        "TURNOUT_LOG_FORMAT": "json",
    }


def test_only_the_gateway_is_told_the_port() -> None:
    assert environment("gateway", "gateway")["TURNOUT_PORT"] == "9000"
    assert "TURNOUT_PORT" not in environment("router", "router")


def test_the_path_stays_even_if_somebody_calls_it_a_key() -> None:
    catalog = parse("components: {a: {kind: llm_cloud, model: m, key: {env: PATH}}}")
    found = child_environment(PARENT, catalog, Instance("x", "vision", "x-1"), Settings("nats://h", 1, 3.0))
    assert found["PATH"] == "/bin"
