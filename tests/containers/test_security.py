"""What a container may not do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.deployment import Deployment, docker, eventually
from tests.containers.outside import outside

OURS = ("gateway", "router", "controller", "small", "cloud", "claude", "eyes", "docs", "tools", "screen", "nats")


def service_of(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def inside(system: Deployment, service: str, *command: str) -> str:
    """What a command says inside a container, its errors included."""
    (container, *_) = system.containers(service)
    return docker("exec", container["Id"], "python3", "-I", "-c", *command, check=False)


def test_no_container_is_root_has_a_capability_or_can_write_its_image(system: Deployment) -> None:
    seen = set()
    for container in system.containers():
        name, host = service_of(container), container["HostConfig"]
        if name not in OURS:
            continue
        seen.add(name)
        pid = container["State"]["Pid"]
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert set(status["Uid"].split()) == {"10001"}, name
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == 0, (name, kind)
        assert status["NoNewPrivs"].strip() == "1", name
        assert host["ReadonlyRootfs"], name
        assert not host["Privileged"], name
        assert host["Memory"] > 0, name
        assert host["NanoCpus"] > 0, name
        assert host["PidsLimit"] > 0, name
    assert seen == set(OURS)


def test_only_the_gateway_is_published_and_only_on_this_machine(system: Deployment) -> None:
    published = {
        (service_of(c), binding["HostIp"])
        for c in system.containers()
        for bindings in c["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    }
    assert published == {("gateway", "127.0.0.1")}


_CONNECT = """
import socket
try:
    socket.create_connection(("{host}", {port}), 3).close()
    print("connected")
except OSError as error:
    print("refused", error)
"""


@pytest.fixture(scope="module")
def way_out() -> Iterator[str]:
    with outside() as (host, port):
        yield _CONNECT.format(host=host, port=port)


@pytest.mark.parametrize("service", ["small", "eyes", "docs", "tools", "screen", "router", "controller", "nats"])
def test_who_needs_no_way_out_has_none(system: Deployment, way_out: str, service: str) -> None:
    assert inside(system, service, way_out).startswith("refused")
    assert inside(system, service, _CONNECT.format(host="upstream", port=8000)).startswith("refused")


def test_the_cloud_component_has_a_way_out(system: Deployment, way_out: str) -> None:
    assert "connected" in inside(system, "cloud", way_out)
    assert "connected" in inside(system, "cloud", _CONNECT.format(host="upstream", port=8000))


_BUS = """
import json, socket
login = {{"user": "{user}", "pass": "{password}", "verbose": False, "pedantic": False, "lang": "x", "version": "1"}}
with socket.create_connection(("nats", 4222), 5) as s:
    s.settimeout(2)
    s.recv(65536)
    s.sendall(b"CONNECT " + json.dumps(login).encode() + b"\\r\\n" + b"{then}" + b"PING\\r\\n")
    got = b""
    try:
        while b"PONG" not in got:
            more = s.recv(65536)
            if not more:
                break
            got += more
    except OSError:
        pass
    print(got.decode())
"""


def test_a_wrong_password_does_not_get_onto_the_bus(system: Deployment) -> None:
    said = inside(system, "eyes", _BUS.format(user="eyes", password="guessed", then=""))
    assert "Authorization Violation" in said
    assert "PONG" not in said


@pytest.mark.parametrize(
    "then",
    [
        r"SUB turnout.v1.route 1\r\n",
        r"SUB turnout.v1.do.small.* 1\r\n",
        r"SUB > 1\r\n",
        r"SUB _INBOX.> 1\r\n",
        r"PUB $KV.turnout_catalog.current 2\r\n{}\r\n",
        r"PUB $JS.API.STREAM.DELETE.KV_turnout_catalog 0\r\n\r\n",
        r"PUB turnout.v1.beat.small.small-1 1\r\nx\r\n",
        r"PUB turnout.v1.order.small-1 1\r\nx\r\n",
        r"PUB turnout.v1.controller 1\r\nx\r\n",
    ],
)
def test_a_vision_worker_neither_hears_prompts_nor_changes_the_catalog(system: Deployment, then: str) -> None:
    password = (system.secrets / "nats_eyes").read_text().strip()
    said = inside(system, "eyes", _BUS.format(user="eyes", password=password, then=then))
    assert "Permissions Violation" in said


def test_a_service_sees_its_own_secrets_only(system: Deployment) -> None:
    said = inside(system, "eyes", "import os; print(sorted(os.listdir('/run/secrets')))")
    assert said == "['nats_eyes']"


def test_a_component_that_takes_too_much_memory_is_stopped_alone(system: Deployment) -> None:
    (container, *_) = system.containers("tools")
    limit = container["HostConfig"]["Memory"]
    eater = f"print('eating', flush=True); b = bytearray({limit} * 2); b[::4096] = b'x' * len(b[::4096]); print('full')"
    assert inside(system, "tools", eater) == "eating"
    # The kernel may have taken the component itself: then it is started again.
    eventually(lambda: system.ready("tools"), "tools serves again", 60)
    assert system.ready("small")


_FORK = """
import os, time
made = 0
try:
    for _ in range(500):
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
        made += 1
except OSError:
    pass
print(made)
"""


def test_processes_are_limited(system: Deployment) -> None:
    assert int(inside(system, "claude", _FORK)) < 64


def test_the_images_say_what_they_are_and_hold_no_compiler(system: Deployment) -> None:
    said = inside(
        system, "small", "import shutil; print([shutil.which(p) for p in ('gcc', 'cc', 'cmake', 'pip', 'pip3')])"
    )
    assert said == "[None, None, None, None, None]"
    (container, *_) = system.containers("small")
    assert container["Config"]["Labels"]["org.opencontainers.image.title"] == "Turnout"
    assert system.project in container["Name"]
