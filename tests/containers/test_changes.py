"""Containers that come, go, die and change, while requests are asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import openai
import yaml

from tests.containers.deployment import TOP, Deployment, docker, eventually


@dataclass
class Load:
    """Questions asked without a pause, and what came of them."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)


@contextmanager
def asked_all_the_time(system: Deployment, model: str, askers: int = 2) -> Iterator[Load]:
    load, stop = Load(), threading.Event()

    def ask() -> None:
        client = system.client()
        while not stop.is_set():
            try:
                answer = client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": "What is 12 * 12?"}], max_tokens=8
                )
                assert answer.choices[0].message.content
                load.answered += 1
            except (openai.APIError, AssertionError) as error:
                load.failed.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(askers)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)


def test_scaling_up_and_down_under_load_fails_no_request(system: Deployment) -> None:
    with asked_all_the_time(system, "small") as load:
        system.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "small=3", "small")
        eventually(lambda: len(system.ready("small")) == 3, "three instances serve", 120)
        names = {beat["instance"] for beat in system.ready("small")}
        system.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "small=1", "small")
        eventually(lambda: len(system.ready("small")) == 1, "one instance serves", 120)
    assert len(names) == 3
    assert load.answered > 0
    assert load.failed == []


def test_a_killed_container_comes_back_and_the_others_go_on(system: Deployment) -> None:
    (container,) = system.containers("small")
    (before,) = system.ready("small")
    docker("kill", "-s", "KILL", container["Id"])
    (tools,) = system.ready("tools")
    assert tools["state"] == "ready"

    # The engine does not restart what a person has killed: do what it does when the process dies by itself.
    docker("start", container["Id"])
    eventually(
        lambda: [b for b in system.ready("small") if b["started_s"] > before["started_s"]], "it serves again", 120
    )


def test_a_process_that_dies_in_its_container_is_started_again(system: Deployment) -> None:
    (before,) = system.ready("tools")
    (container,) = system.containers("tools")
    docker(
        "exec",
        container["Id"],
        "python3",
        "-I",
        "-c",
        "import os; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), 9)",
        check=False,  # the container may end before the command has
    )
    after = eventually(
        lambda: [b for b in system.ready("tools") if b["started_s"] > before["started_s"]], "tools serves again", 60
    )
    assert after


def test_sigterm_lets_a_running_answer_end(system: Deployment) -> None:
    stream = system.client().chat.completions.create(
        model="small", messages=[{"role": "user", "content": "Tell a long story."}], max_tokens=120, stream=True
    )
    chunks = [next(iter(stream))]
    (container,) = system.containers("small")
    stopping = threading.Thread(target=docker, args=("stop", "-t", "40", container["Id"]))
    stopping.start()
    chunks += list(stream)
    stopping.join()
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}
    assert docker("inspect", "-f", "{{.State.ExitCode}}", container["Id"]) == "0"
    docker("start", container["Id"])
    eventually(lambda: system.ready("small"), "small serves again", 120)


def calculated(system: Deployment) -> bool:
    try:
        answer = system.client().chat.completions.create(
            model="tools", messages=[{"role": "user", "content": "What is 12 * 12?"}]
        )
    except openai.InternalServerError:
        return False
    return "144" in (answer.choices[0].message.content or "")


def test_the_bus_may_restart_and_keeps_the_catalog(system: Deployment) -> None:
    with system.http(system.admin_key) as http:
        before = http.get("/admin/catalog").json()["revision"]
        docker("restart", "-t", "10", system.containers("nats")[0]["Id"])
        eventually(lambda: len(system.ready("small")) == 1, "small is heard of again", 60)
        assert http.get("/admin/catalog").json()["revision"] == before
    # For a moment the router may not have found back yet: such requests end with 503.
    assert eventually(lambda: calculated(system), "it answers again", 30)


def test_who_is_stopped_while_the_bus_is_away_ends_soon(system: Deployment) -> None:
    (bus,), (tools,), (before,) = system.containers("nats"), system.containers("tools"), system.ready("tools")
    since = f"{time.time():.0f}"
    docker("stop", bus["Id"])
    try:
        eventually(lambda: "gaierror" in system.compose("logs", "--since", since, "tools"), "it looks for the name", 60)
        began_s = time.monotonic()
        docker("stop", tools["Id"])
        took_s = time.monotonic() - began_s
    finally:
        docker("start", bus["Id"])
        docker("start", tools["Id"])
    eventually(
        lambda: [beat["started_s"] > before["started_s"] for beat in system.ready("tools")] == [True],
        "it alone serves again",
        120,
    )
    # One look for the name, which the C library gives up after 10 s of its own accord.
    assert took_s < 8, took_s


def test_apply_rolls_the_changed_component_and_no_other(system: Deployment) -> None:
    catalog = yaml.safe_load((TOP / "tests" / "containers" / "turnout.yaml").read_text())
    catalog["components"]["tools"]["max_steps"] = 4
    (tools,), (small,) = system.ready("tools"), system.ready("small")
    with system.http(system.admin_key) as http:
        done = http.put("/admin/catalog", content=yaml.safe_dump(catalog), timeout=120)
        assert done.status_code == 200, done.text
        (new,) = system.ready("tools")
        assert new["started_s"] > tools["started_s"]
        assert system.ready("small")[0]["started_s"] == small["started_s"]
        back = http.post("/admin/rollback", json={}, timeout=120)
        assert back.status_code == 200, back.text


def test_with_two_instances_a_roll_fails_no_request(system: Deployment) -> None:
    catalog = yaml.safe_load((TOP / "tests" / "containers" / "turnout.yaml").read_text())
    catalog["components"]["tools"]["max_steps"] = 5
    system.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "tools=2", "tools")
    eventually(lambda: len(system.ready("tools")) == 2, "two instances serve")
    with asked_all_the_time(system, "tools") as load, system.http(system.admin_key) as http:
        time.sleep(0.5)
        done = http.put("/admin/catalog", content=yaml.safe_dump(catalog), timeout=180)
        assert done.status_code == 200, done.text
    system.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "tools=1", "tools")
    eventually(lambda: len(system.ready("tools")) == 1, "one instance serves")
    assert load.answered > 0
    assert load.failed == []


def test_the_controller_may_restart_without_anybody_noticing(system: Deployment) -> None:
    with asked_all_the_time(system, "tools") as load:
        docker("restart", "-t", "10", system.containers("controller")[0]["Id"])
        eventually(lambda: system.containers("controller")[0]["State"]["Health"]["Status"] == "healthy", "it is well")
    assert load.answered > 0
    assert load.failed == []
