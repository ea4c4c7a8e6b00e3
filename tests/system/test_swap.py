"""What runs is changed while requests run: the short form of `make prove-swap`, and what else an operator does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rich.console import Console

from evals.prove.load import Load
from evals.prove.models import requantised, shipped
from evals.prove.swap import Plan, broken_catalogs, prove
from evals.prove.system import COMPONENT, System, catalog, running
from evals.prove.tally import Outcome, tally
from tests.support.processes import bus_of
from tests.support.running import eventually

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("swap"))


@pytest.fixture(scope="module")
def system(folder: Path) -> Iterator[System]:
    with running(folder, catalog(shipped())) as it:
        yield it


def serving(system: System) -> list[dict[str, Any]]:
    return [b for b in system.instances().values() if b["component"] == COMPONENT and b["state"] == "ready"]


def resumed(system: System) -> float:
    lines = httpx.get(f"{system.url}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("turnout_streams_resumed_total ")).split()[-1])


def test_nobody_notices_swaps_between_models_and_broken_catalogs_change_nothing(system: System, folder: Path) -> None:
    models = (shipped(), requantised(folder, "q8_0"))
    plan = Plan(4, 120, 4, 6, models, broken_catalogs(shipped(), folder)[1:5])
    proof = asyncio.run(prove(system, plan, Console(quiet=True)))
    noticed = [problem for problem in proof.problems if not problem.startswith("p99")]  # no timing in tests
    assert noticed == []
    assert (proof.swaps, proof.refused) == (4, 4)
    assert proof.quiet.requests + proof.under_change.requests >= 120


def test_the_proof_notices_a_swap_that_kills(system: System, folder: Path) -> None:
    models = (shipped(), requantised(folder, "q8_0"))
    plan = Plan(3, 30, 6, 200, models, (), broken_switch=True)
    proof = asyncio.run(prove(system, plan, Console(quiet=True)))
    assert any("failed" in problem for problem in proof.problems)


def test_saving_the_file_is_an_apply_and_a_bad_one_changes_nothing(system: System) -> None:
    before = httpx.get(f"{system.url}/admin/catalog").json()["revision"]
    saved = catalog(shipped(), slots=3)
    saved["router"] = {"quality": 0.25}
    system.config.write_text(yaml.safe_dump(saved).replace("slots: 3", "slotz: 3"))
    eventually(lambda: "did you mean `slots`" in system.log.read_text(), 10, "the typo")
    assert httpx.get(f"{system.url}/admin/catalog").json()["revision"] == before
    system.config.write_text(yaml.safe_dump(saved))

    def in_force() -> bool:
        found = httpx.get(f"{system.url}/admin/catalog").json()
        return bool(found["catalog"]["router"]["quality"] == 0.25 and found["revision"] > before)

    eventually(in_force, 60, "the saved file")
    assert {beat["slots"] for beat in serving(system)} == {3}


def test_a_price_changes_without_a_new_instance_and_a_roll_back_brings_the_old_one(system: System) -> None:
    base = catalog(shipped(), slots=3, price={"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0})
    assert asyncio.run(system.apply(base)).ok
    (old,) = serving(system)
    dearer = catalog(shipped(), slots=3, price={"input_usd_per_mtok": 1000.0, "output_usd_per_mtok": 1.0})
    answer = asyncio.run(system.apply(dearer))
    assert answer.ok, answer
    assert all("at once" in line for line in answer.body["changes"])

    def price() -> float:
        (now,) = serving(system)
        assert now["pid"] == old["pid"]
        return float(now["price"]["input_usd_per_mtok"])

    eventually(lambda: price() == 1000.0, 10, "the new price")
    rolled = httpx.post(f"{system.url}/admin/rollback", json={}, timeout=60)
    assert rolled.status_code == 200, rolled.text
    eventually(lambda: price() == 1.0, 10, "the old price")
    stale = httpx.put(
        f"{system.url}/admin/catalog", content=yaml.safe_dump(base), headers={"if-match": '"1"'}, timeout=60
    )
    assert stale.status_code == 409
    assert len(httpx.get(f"{system.url}/admin/history").json()["revisions"]) >= 3


def test_a_component_is_scaled_up_and_down_and_all_instances_work(system: System) -> None:
    assert asyncio.run(system.apply(catalog(shipped(), slots=1, replicas=(1, 3)))).ok
    assert asyncio.run(system.scale(3)).ok
    assert len(serving(system)) == 3
    assert asyncio.run(system.scale(4)).status == 400
    assert asyncio.run(system.scale(1)).ok

    def left() -> list[str]:
        return [name for name, beat in system.instances().items() if beat["component"] == COMPONENT]

    eventually(lambda: len(left()) == 1, 30, "two instances leaving")
    events = httpx.get(f"{system.url}/admin/events").json()["events"]
    assert {"starting", "proven", "serving", "draining", "left", "applied", "refused"} <= {e["what"] for e in events}


def test_a_component_sleeps_when_idle_and_wakes_for_a_request(system: System) -> None:
    asked = {"model": COMPONENT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    sleepy = catalog(shipped(), slots=1, replicas=(0, 1))
    sleepy["components"][COMPONENT]["replicas"]["idle_s"] = 1.0
    assert asyncio.run(system.apply(sleepy)).ok
    assert httpx.post(f"{system.url}/v1/chat/completions", json=asked, timeout=60).status_code == 200

    def gone() -> bool:
        return not any(beat["component"] == COMPONENT for beat in system.instances().values())

    eventually(gone, 30, "the component sleeping")
    woken = httpx.post(f"{system.url}/v1/chat/completions", json=asked, timeout=60)
    assert woken.status_code == 200, woken.text
    eventually(gone, 30, "the component sleeping again")
    impatient = {**asked, "turnout": {"deadline_ms": 50}}
    assert httpx.post(f"{system.url}/v1/chat/completions", json=impatient, timeout=60).status_code in (429, 504)


def test_requests_wait_while_a_component_that_fits_once_only_is_exchanged(system: System) -> None:
    asked = {"model": COMPONENT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    assert asyncio.run(system.apply(catalog(shipped(), slots=2, swap={"mode": "replace"}))).ok

    async def through() -> list[int]:
        applying = asyncio.create_task(system.apply(catalog(shipped(), slots=3, swap={"mode": "replace"})))
        statuses: list[int] = []
        async with httpx.AsyncClient(timeout=60) as http:
            while not applying.done():
                statuses.append((await http.post(f"{system.url}/v1/chat/completions", json=asked)).status_code)
        assert (await applying).ok
        return statuses

    assert set(asyncio.run(through())) == {200}


def test_nobody_is_cut_off_by_a_swap_for_having_waited_behind_others(system: System) -> None:
    asked = {"model": COMPONENT, "messages": [{"role": "user", "content": "Count to 100"}], "max_tokens": 80}
    assert asyncio.run(system.apply(catalog(shipped(), slots=1))).ok
    began_s = time.monotonic()
    assert httpx.post(f"{system.url}/v1/chat/completions", json=asked, timeout=60).status_code == 200
    swap = {"drain_s": 2 + 6 * (time.monotonic() - began_s)}  # for one of them, and not for all twelve
    assert asyncio.run(system.apply(catalog(shipped(), slots=1, swap=swap))).ok

    async def through() -> list[str]:
        async with httpx.AsyncClient(timeout=120) as http:
            url = f"{system.url}/v1/chat/completions"
            asking = [asyncio.create_task(http.post(url, json=asked)) for _ in range(12)]
            while not any(beat["queued"] for beat in await asyncio.to_thread(system.serving)):
                await asyncio.sleep(0.01)
            assert (await system.apply(catalog(shipped(), slots=1, context_tokens=1280, swap=swap))).ok
            return [answer.text for answer in await asyncio.gather(*asking) if answer.status_code != 200]

    assert asyncio.run(through()) == []


def test_a_generation_on_trial_answers_its_share_and_is_promoted_by_itself(system: System, folder: Path) -> None:
    assert asyncio.run(system.apply(catalog(shipped()))).ok
    other = requantised(folder, "q8_0")
    # Generous on purpose: this is about the way, not about the speed of a busy machine.
    canary = {"share": 0.5, "requests": 10, "max_slowdown": 100, "max_quality_loss": 1}
    tried = catalog(other, swap={"canary": canary})
    answer = asyncio.run(system.apply(tried))
    assert answer.ok, answer
    assert "small takes 50% of its requests" in answer.body["trial"]
    asked = {"model": COMPONENT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    models: set[str] = set()

    def promoted() -> bool:
        found = httpx.post(f"{system.url}/v1/chat/completions", json=asked, timeout=60)
        assert found.status_code == 200, found.text
        models.add(found.json()["turnout"]["model"])
        events = httpx.get(f"{system.url}/admin/events").json()["events"]
        return any(event["what"] == "promoted" for event in events)

    eventually(promoted, 60, "the promotion")
    assert models == {shipped().name, other.name}
    assert {beat["model"] for beat in serving(system)} == {other.name}


def test_a_crowd_brings_a_second_instance(system: System) -> None:
    assert asyncio.run(system.apply(catalog(shipped(), slots=1, replicas=(1, 2)))).ok
    asked = {"model": COMPONENT, "messages": [{"role": "user", "content": "Count to 100"}], "max_tokens": 150}

    async def crowd() -> list[int]:
        async with httpx.AsyncClient(timeout=120) as http:
            answers = await asyncio.gather(
                *(http.post(f"{system.url}/v1/chat/completions", json=asked) for _ in range(10))
            )
        return [answer.status_code for answer in answers]

    assert asyncio.run(crowd()) == [200] * 10
    eventually(lambda: len(serving(system)) == 2, 30, "a second instance")


def test_nobody_notices_that_the_bus_is_killed_and_all_of_it_works_afterwards(system: System, folder: Path) -> None:
    assert asyncio.run(system.apply(catalog(shipped(), slots=2, replicas=(2, 2)))).ok
    eventually(lambda: all(beat["state"] == "ready" for beat in system.instances().values()), 60, "the old ones left")
    pids = {name: beat["pid"] for name, beat in system.instances().items()}

    async def through() -> list[Outcome]:
        load = Load(system.url, COMPONENT, 4, 20)
        async with load.running():
            for _ in range(2):
                await load.until(len(load.outcomes) + 8)
                os.kill(bus_of(folder), signal.SIGKILL)
            await load.until(len(load.outcomes) + 8)
        return load.outcomes

    assert tally(asyncio.run(through()), shipped().name, ()).clean
    assert {name: beat["pid"] for name, beat in system.instances().items()} == pids
    priced = catalog(shipped(), slots=2, replicas=(2, 2), price={"input_usd_per_mtok": 7.0})
    assert asyncio.run(system.apply(priced)).ok

    def prices() -> set[float]:
        return {beat["price"]["input_usd_per_mtok"] for beat in serving(system)}

    eventually(lambda: prices() == {7.0}, 60, "the new price everywhere, or new instances with it")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_stream_whose_instance_dies_or_freezes_goes_on_with_another(system: System, how: signal.Signals) -> None:
    assert asyncio.run(system.apply(catalog(shipped(), slots=2, replicas=(2, 2)))).ok
    eventually(lambda: len(serving(system)) == 2, 30, "two instances")
    asked = {
        "model": COMPONENT,
        "messages": [{"role": "user", "content": "Write a long story about a fox."}],
        "max_tokens": 80,
        "temperature": 0,
    }
    whole = httpx.post(f"{system.url}/v1/chat/completions", json=asked, timeout=60).json()
    before = resumed(system)
    text, events, killed = "", [], False
    with httpx.stream(
        "POST", f"{system.url}/v1/chat/completions", json={**asked, "stream": True}, timeout=60
    ) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                events.append(line)
                continue
            chunk = json.loads(line.removeprefix("data: "))
            assert "error" not in chunk, chunk
            text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
            if len(text) > 40 and not killed:
                killed = True
                (writing,) = [beat for beat in serving(system) if beat["in_use"]]
                os.kill(writing["pid"], how)
    assert killed
    with contextlib.suppress(ProcessLookupError):
        os.kill(writing["pid"], signal.SIGKILL)  # a frozen one would stay for ever
    assert "data: [DONE]" in events
    assert text == whole["choices"][0]["message"]["content"]
    assert resumed(system) == before + 1
