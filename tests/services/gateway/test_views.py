"""What can be seen of the system: models, health, status, metrics, and the catalog changing underneath."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import openai
import pytest

from services.bus.memory import MemoryBus
from services.contracts import subjects
from services.contracts.beat import Beat, State
from services.gateway.generations import generations
from services.gateway.health import missing
from services.gateway.metrics import Metrics
from tests.services.gateway.support import Scripted, catalog, front


async def test_models_are_the_router_and_every_enabled_component() -> None:
    async with front() as gate:
        client = gate.openai()
        found = [model async for model in await client.models.list()]
        one = await client.models.retrieve("small")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("ghost")
    assert [model.id for model in found] == ["auto", "small", "big", "docs"]
    assert one.owned_by == "turnout"
    assert one.model_extra["turnout"]["ready"] == 1
    assert one.model_extra["turnout"]["context_tokens"] == 4096
    assert found[2].model_extra["turnout"]["state"] == "absent"


async def test_ready_means_that_everything_needed_serves() -> None:
    async with front() as gate, gate.http() as client:
        assert (await client.get("/health/ready")).json() == {"status": "ready"}
        await gate.workers["small"].drain(0.1)
        await gate.router.die()
        async with asyncio.timeout(5):
            while gate.edge.roster.all():
                await asyncio.sleep(0.001)
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["missing"] == {"router": "absent", "small": "absent"}


def _beat(component: str, state: State, detail: str = "") -> Beat:
    return Beat(component, "k", f"{component}-1", 1, 1, "h", state, detail=detail)


def test_missing_names_what_should_serve_and_does_not() -> None:
    snapshot = catalog()
    router = _beat("router", "ready")
    assert missing(snapshot, [router, _beat("small", "ready")]) == {}
    assert missing(snapshot, [router, _beat("small", "unconfigured", "no key")]) == {}
    assert missing(snapshot, [router, _beat("small", "failed", "bad file")]) == {"small": "failed bad file"}
    assert missing(snapshot, [_beat("router", "draining"), _beat("small", "starting")]) == {
        "router": "draining",
        "small": "starting",
    }


async def test_status_shows_catalog_and_instances() -> None:
    async with front() as gate, gate.http() as client:
        status = (await client.get("/v1/status")).json()
    assert status["revision"] == 1
    instances = {c["name"]: [beat["instance"] for beat in c["instances"]] for c in status["components"]}
    assert instances == {"small": ["small-1"], "big": [], "off": [], "docs": []}
    assert [beat["instance"] for beat in status["processes"]] == ["router-1"]
    assert status["missing"] == {}
    (generation,) = status["components"][0]["generations"]
    assert (generation["generation"], generation["states"], generation["share"]) == (1, {"ready": 1}, 1.0)
    assert generation["draining_s"] is None


def _of(generation: int, number: int, state: State, since_s: float = 0.0, **more: Any) -> Beat:
    return Beat("small", "k", f"small-{number}", generation, 1, "h", state, since_s=since_s, **more)


def test_a_generation_is_what_its_instances_add_up_to() -> None:
    beats = [
        _of(2, 3, "ready", in_use=1, share=0.1),
        _of(1, 1, "draining", 90.0, in_use=2),
        _of(1, 2, "draining", 60.0),
        _of(1, 4, "ready", 10.0),
    ]
    old, new = generations(beats, now_s=100.0)
    assert (old.states, old.in_use, old.share, old.draining_s) == ({"draining": 2, "ready": 1}, 2, 1.0, 40.0)
    assert (new.states, new.in_use, new.share, new.draining_s) == ({"ready": 1}, 1, 0.1, None)


def test_metrics_show_each_generation_and_for_how_long_what_leaves_has_drained() -> None:
    beats = [_of(1, 1, "draining", time.time() - 30), _of(2, 2, "ready", share=0.25)]
    text = Metrics(lambda: beats).render().decode()
    assert 'turnout_generation_instances{component="small",generation="1",state="draining"} 1.0' in text
    assert 'turnout_generation_instances{component="small",generation="2",state="ready"} 1.0' in text
    assert 'turnout_generation_share{component="small",generation="2"} 0.25' in text
    (line,) = [it for it in text.splitlines() if it.startswith("turnout_component_draining_seconds{")]
    assert line.startswith(
        'turnout_component_draining_seconds{component="small",component_instance="small-1",generation="1"} '
    )
    assert float(line.split()[-1]) >= 30


async def test_metrics_count_requests_tokens_cost_and_facts() -> None:
    async with front({"small": Scripted(facts={"kv_used": 0.25})}) as gate, gate.http() as client:
        await gate.ask()
        await gate.ask(stream=True)
        await gate.ask(model="ghost")
        await client.get("/nowhere/" + "x" * 50)
        answer = await client.get("/metrics")
    text = answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    route = 'route="/v1/chat/completions"'
    assert f'turnout_requests_total{{component="small",{route},status="200"}} 2.0' in text
    assert f'turnout_requests_total{{component="none",{route},status="404"}} 1.0' in text
    assert 'turnout_requests_total{component="none",route="other",status="404"} 1.0' in text
    assert 'turnout_tokens_total{component="small",direction="output"} 6.0' in text
    assert 'turnout_cost_usd_total{component="small"} 0.0005' in text
    assert 'turnout_first_token_seconds_count{component="small"} 2.0' in text
    assert 'turnout_component_fact{component="small",component_instance="small-1",fact="kv_used"} 0.25' in text
    assert 'turnout_component_slots{component="small",component_instance="small-1"} 4.0' in text
    assert 'turnout_component_output_tokens_total{component="small",component_instance="small-1"} 6.0' in text
    assert 'turnout_component_queue_wait_seconds{component="small",component_instance="small-1"}' in text
    assert "turnout_in_flight 1.0" in text
    assert "/nowhere" not in text


async def test_strangers_cannot_make_the_number_of_series_grow() -> None:
    async with front() as gate, gate.http() as client:
        await client.get("/a")
        await gate.ask(model="ghost-0")
        before = gate.edge.metrics.render().count(b"\n")
        for number in range(20):
            await client.get(f"/a{number}")
            await client.get(f"/v1/decisions/{number:032x}")
            await gate.ask(model=f"ghost-{number}")
        assert gate.edge.metrics.render().count(b"\n") < before + 30


def test_series_of_an_instance_end_with_it() -> None:
    beats = [_beat("small", "ready")]
    metrics = Metrics(lambda: beats)
    assert b'turnout_component_up{component="small"' in metrics.render()
    beats.clear()
    assert b"component_instance=" not in metrics.render()


def test_what_a_component_has_spent_is_counted_from_nothing_on() -> None:
    text = Metrics(lambda: [_beat("small", "ready"), _beat("router", "ready")]).render().decode()
    for way in ("input", "output", "cached"):
        assert f'turnout_tokens_total{{component="small",direction="{way}"}} 0.0' in text
    assert 'turnout_cost_usd_total{component="small"} 0.0' in text
    assert 'turnout_cost_usd_total{component="router"}' not in text


async def test_a_new_catalog_is_taken_over_and_a_broken_one_is_not() -> None:
    bus = MemoryBus()
    async with front(bus=bus) as gate, gate.http() as client:
        changed = catalog(max_images=1)
        del changed.catalog.components["big"]
        await bus.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, b"{}")
        revision = await bus.kv_put(
            subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, changed.model_dump_json(by_alias=True).encode()
        )
        await gate.edge.live.refresh()
        assert gate.edge.live.current.snapshot.revision == revision
        assert [m["id"] for m in (await client.get("/v1/models")).json()["data"]] == ["auto", "small", "docs"]
        await bus.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, b'{"catalog": {"components": {}}}')
        await gate.edge.live.refresh()
        assert gate.edge.live.current.snapshot.revision == revision
        assert (await gate.ask()).status_code == 200
