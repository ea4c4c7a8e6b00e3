"""A decision log put to another policy, from the file to the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evals.cli import app
from evals.replay.policy_file import ReplayPolicy, rechoose
from services.contracts.decision import Candidate

SMALL = Candidate(("small",), 0.6, 0.001, 0.0, 1.0)
LARGE = Candidate(("large",), 0.9, 0.01, 0.0, 3.0, rejected="dearer")
BLIND = Candidate(("tools",), 0.99, 0.0, 0.0, 0.1, rejected="cannot do chat")


@pytest.mark.parametrize(
    ("policy", "takes"),
    [
        (ReplayPolicy("cheapest-good-enough", quality=0.5), "small"),
        (ReplayPolicy("cheapest-good-enough", quality=0.8), "large"),
        (ReplayPolicy("cheapest-good-enough", quality=0.99), "large"),
        (ReplayPolicy("cheapest-good-enough", quality=0.8, max_cost_usd=0.005), "small"),
        (ReplayPolicy("best"), "large"),
        (ReplayPolicy("best", deadline_s=2), "small"),
        (ReplayPolicy("best", without=("large",)), "small"),
        (ReplayPolicy("cheapest"), "small"),
        (ReplayPolicy("always", component="large"), "large"),
    ],
)
def test_a_policy_chooses_among_those_that_could(policy: ReplayPolicy, takes: str) -> None:
    chosen = rechoose(policy, [SMALL, LARGE, BLIND])

    assert chosen is not None
    assert chosen.steps == (takes,)


def test_nobody_left_is_nobody() -> None:
    assert rechoose(ReplayPolicy("always", component="tools"), [SMALL, BLIND]) is None


def _decision(number: int, component: str, quality: float | None) -> dict[str, Any]:
    candidates = [
        {"steps": ["small"], "quality": 0.6, "cost_usd": 0.001, "wait_s": 0, "finish_s": 1.0},
        {"steps": ["large"], "quality": 0.9, "cost_usd": 0.01, "wait_s": 0, "finish_s": 3.0, "rejected": "dearer"},
    ]
    return {
        "id": f"d{number}",
        "requested": "auto",
        "component": component,
        "candidates": candidates,
        "usage": {"cost_usd": 0.011 if component == "large" else 0.0012},
        "total_ms": 2900 if component == "large" else 1100,
        "quality": quality,
        "propensities": {"small": 0.8, "large": 0.2},
    }


def _log(path: Path, *extra: str) -> Path:
    decisions = [_decision(i, "large" if i % 5 == 0 else "small", float(i % 5 == 0 or i % 2)) for i in range(200)]
    path.write_text("\n".join([*map(json.dumps, decisions), *extra]))
    return path


def _run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, args)])


def _policy(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_estimate_of_always_large(tmp_path: Path) -> None:
    policy = _policy(tmp_path / "p.yaml", "rule: always\ncomponent: large\n")

    result = _run(_log(tmp_path / "log.jsonl"), "--policy", policy, "--out", tmp_path / "out.json")

    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["n_decisions"] == 200
    assert found["policy"]["quality"]["mean"] == pytest.approx(1.0, abs=0.01)
    assert found["policy"]["cost_usd"]["mean"] == pytest.approx(0.011, rel=0.02)
    assert found["policy"]["latency_s"]["mean"] == pytest.approx(2.9, rel=0.02)
    assert found["logged"]["cost_usd"]["mean"] == pytest.approx((0.011 + 4 * 0.0012) / 5)
    assert found["policy"]["quality"]["direct"] == pytest.approx(0.2)


def test_a_broken_line_is_named_and_ends_the_run_unless_it_may_be_skipped(tmp_path: Path) -> None:
    policy, log = _policy(tmp_path / "p.yaml", "rule: best"), _log(tmp_path / "log.jsonl", "{broken")

    refused, allowed = _run(log, "--policy", policy), _run(log, "--policy", policy, "--skip-bad-rows")

    assert refused.exit_code == 78
    assert f"{log}:201:" in refused.output
    assert allowed.exit_code == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rule: best\nqualty: 1", "qualty"),
        ("rule: worst", "not a policy"),
        ("rule: always", "needs a `component`"),
        ("rule: [", "not a policy"),
        ("rule: best\nquality: 7", "quality is not within 0..1"),
        ("rule: best\nmax_cost_usd: -1", "max_cost_usd is not a number from 0 on"),
        ("rule: best\ndeadline_s: .nan", "deadline_s is not a number from 0 on"),
        ("rule: best\nwithout: [smal]", "smal: no decision of the log has considered this; it has "),
        ("rule: always\ncomponent: nobody", "nobody: no decision of the log has considered this"),
    ],
)
def test_a_policy_that_makes_no_sense_is_an_error(tmp_path: Path, text: str, says: str) -> None:
    result = _run(_log(tmp_path / "log.jsonl"), "--policy", _policy(tmp_path / "p.yaml", text))

    assert result.exit_code == 78
    assert says in result.output


def test_a_log_without_free_choices_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({**_decision(1, "small", 1.0), "requested": "small"}))

    result = _run(log, "--policy", _policy(tmp_path / "p.yaml", "rule: best"))

    assert result.exit_code == 78
    assert "no decision of the log was the router's own" in result.output


def test_of_many_broken_lines_the_first_are_named_and_the_others_counted(tmp_path: Path) -> None:
    log = _log(tmp_path / "log.jsonl", *["{broken"] * 25)

    result = _run(log, "--policy", _policy(tmp_path / "p.yaml", "rule: best"))

    assert result.exit_code == 78
    assert result.output.count(f"{log}:") == 20
    assert "and 5 more" in result.output
