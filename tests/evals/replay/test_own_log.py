"""The log as our own router writes it, read by the replay: no field of it is made up here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from evals.cli import app
from evals.outcomes.decisions import Logged, read
from services.contracts.decision import Decision
from services.contracts.events import Delta, Event, Finished, Usage
from services.contracts.messages import Task
from tests.router.test_graph import catalog, model, question, system

GOOD = {"small": 0.4, "cloud": 0.9}


async def costs_a_cent(task: Task) -> AsyncIterator[Event]:
    yield Delta("ok")
    yield Finished(Usage(1000, 1000))


async def _traffic(n: int) -> list[Decision]:
    small, cloud = model(costs_a_cent), model(costs_a_cent, price=5.0)
    async with system(catalog(explore=0.4), small=small, cloud=cloud) as it:
        return [(await it.ask(question(f"question {number}")))[1] for number in range(n)]


def _completed(decision: Decision) -> Decision:
    """What the gateway adds when the answer has ended."""
    cost = 0.01 if decision.component == "cloud" else 0.0
    return msgspec.structs.replace(decision, usage=Usage(1000, 1000, 0, cost), total_ms=100.0)


async def test_the_value_of_another_policy_is_read_off_our_own_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = []
    for decision in map(_completed, await _traffic(400)):
        record = json.loads(msgspec.json.encode(decision))
        lines.append(json.dumps(record | {"quality": GOOD[decision.component]}))
    log.write_text("\n".join(lines))
    (tmp_path / "p.yaml").write_text("rule: always\ncomponent: cloud\n")

    result = CliRunner().invoke(
        app, ["replay", str(log), "--policy", str(tmp_path / "p.yaml"), "--out", str(tmp_path / "o")]
    )

    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "o").read_text())
    assert found["n_decisions"] == 400
    assert found["policy"]["quality"]["mean"] == pytest.approx(0.9, abs=0.02)
    assert found["policy"]["cost_usd"]["mean"] == pytest.approx(0.01, rel=0.05)
    assert found["policy"]["quality"]["direct"] == pytest.approx(0.2, abs=0.06)
    assert found["policy"]["quality"]["modelled"] == 0.0
    read_back = [line for _, line in read(log)]
    assert all(isinstance(line, Logged) and line.propensities["cloud"] == pytest.approx(0.2) for line in read_back)
