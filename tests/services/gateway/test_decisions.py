from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.bus.memory import MemoryBus
from services.bus.nats_bus import NatsBus
from services.contracts import subjects
from services.contracts.decision import DECISION_DECODER, Decision
from services.contracts.errors import ComponentUnavailable, NotFound
from services.gateway.decisions import Decisions
from services.gateway.metrics import Metrics
from tests.services.gateway.support import catalog, front


@pytest.mark.parametrize("stream", [False, True])
async def test_a_decision_is_readable_the_moment_its_answer_has_ended(bus: NatsBus, stream: bool) -> None:
    async with front(bus=bus) as gate, gate.http() as client:
        answer = await gate.ask("one two", stream=stream)
        id_ = answer.headers["x-turnout-decision-id"]
        record = (await client.get(f"/v1/decisions/{id_}")).json()
    assert record["id"] == id_
    assert record["component"] == "small"
    assert record["requested"] == "auto"
    assert record["candidates"][0]["rejected"] == "below the quality floor"
    assert record["usage"] == {"input_tokens": 5, "output_tokens": 3, "cached_tokens": 2, "cost_usd": 0.00025}
    assert record["finish_reason"] == "stop"
    assert 0 < record["first_token_ms"] <= record["total_ms"]
    assert record["trace_id"] == id_
    stored = await bus.recall(subjects.decision(id_))
    assert stored is not None
    assert DECISION_DECODER.decode(stored).usage.cost_usd == 0.00025


async def test_an_old_decision_comes_from_the_bus() -> None:
    bus = MemoryBus()
    async with front(bus=bus) as gate:
        id_ = (await gate.ask()).headers["x-turnout-decision-id"]
    async with front(bus=bus) as gate, gate.http() as client:
        assert (await client.get(f"/v1/decisions/{id_}")).json()["id"] == id_


@pytest.mark.parametrize("id_", ["0" * 32, "x", "*", ">", "0" * 31 + "G", "..%2f", "%00", "0" * 33])
async def test_an_unknown_or_malformed_id_is_a_404(id_: str) -> None:
    async with front() as gate, gate.http() as client:
        answer = await client.get(f"/v1/decisions/{id_}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_a_decision_belongs_to_its_tenant(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a\nb\n")
    async with front(snapshot=catalog(keys={"file": str(tmp_path / "keys")})) as gate, gate.http() as client:
        answer = await client.post(
            "/v1/chat/completions",
            json={"model": "auto", "messages": [{"role": "user", "content": "?"}]},
            headers={"authorization": "Bearer a"},
        )
        path = f"/v1/decisions/{answer.headers['x-turnout-decision-id']}"
        assert (await client.get(path, headers={"authorization": "Bearer a"})).status_code == 200
        assert (await client.get(path, headers={"authorization": "Bearer b"})).status_code == 404


async def test_the_callers_trace_is_continued() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with front() as gate, gate.http() as client:
        for given, expected in ((f"00-{trace}-b7ad6b7169203331-01", trace), ("00-nonsense", None), ("0" * 55, None)):
            answer = await client.post(
                "/v1/chat/completions",
                json={"model": "auto", "messages": [{"role": "user", "content": "?"}]},
                headers={"traceparent": given},
            )
            id_ = answer.headers["x-turnout-decision-id"]
            assert gate.router.tasks[-1].traceparent.split("-")[1] == (expected or id_)
            assert (await gate.edge.decisions.read(id_, "")).trace_id == (expected or id_)


class _Stuck(MemoryBus):
    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.fail = False

    async def record(self, subject: str, data: bytes) -> None:
        await self.go.wait()
        if self.fail:
            raise ComponentUnavailable("no storage")
        await super().record(subject, data)


def _decision(number: int) -> Decision:
    return Decision(f"{number:032x}", 0.0, "auto", 1)


async def test_a_slow_bus_costs_records_but_never_waits() -> None:
    bus, metrics = _Stuck(), Metrics(list)
    decisions = Decisions(bus, metrics, queue_max=2)
    for number in range(5):
        decisions.keep(_decision(number))
    assert "turnout_decisions_dropped_total 3.0" in metrics.render().decode()
    assert (await decisions.read(f"{4:032x}", "")).id == f"{4:032x}"  # still readable here
    bus.go.set()
    await decisions.finish()
    assert await bus.recall(subjects.decision(f"{1:032x}")) is not None
    assert await bus.recall(subjects.decision(f"{2:032x}")) is None


async def test_a_failing_bus_is_counted_and_does_not_end_the_writer() -> None:
    bus, metrics = _Stuck(), Metrics(list)
    bus.fail = True
    bus.go.set()
    decisions = Decisions(bus, metrics)
    decisions.keep(_decision(1))
    await decisions.finish()
    assert "turnout_decisions_dropped_total 1.0" in metrics.render().decode()


async def test_an_unreadable_record_is_not_found() -> None:
    bus = MemoryBus()
    await bus.record(subjects.decision("a" * 32), b"\xc1")
    with pytest.raises(NotFound):
        await Decisions(bus, Metrics(list)).read("a" * 32, "")
