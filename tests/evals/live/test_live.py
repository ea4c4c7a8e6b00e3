"""The suite and its rules, and a run against a gateway of our own making."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from evals.cli import app
from evals.live.ask import request_body
from evals.live.run import wilson
from evals.live.suite import SHIPPED, Check, read_suite, right
from services.contracts.errors import ConfigError


@pytest.mark.parametrize(
    ("check", "answer", "expected"),
    [
        (Check(label="positive", labels=("positive", "negative")), "Positive.", True),
        (Check(label="positive", labels=("positive", "negative")), "negative, not positive", False),
        (Check(label="positive", labels=("positive", "negative")), "unpositively", False),
        (Check(label="positive", labels=("positive", "negative")), "", False),
        (Check(number=391), "17 * 23 = 391", True),
        (Check(number=9591), "9,591.", True),
        (Check(number=391), "391 or rather 390", False),
        (Check(number=391), "no idea", False),
        (Check(contains=("18:45",)), "It closes at 18:45.", True),
        (Check(contains=("carbon dioxide",)), "Carbon Dioxide", True),
        (Check(contains=("a", "z")), "abc", False),
        (Check(json={"city": "Oslo"}), '{"city": "oslo", "more": 1}', True),
        (Check(json={"order": 5521}), '```json\n{"order": 5521}\n```', True),
        (Check(json={"order": 5521}), '{"order": "5521"}', False),
        (Check(json={"order": 5521}), "5521", False),
    ],
)
def test_answers_are_judged_by_rule(check: Check, answer: str, expected: bool) -> None:
    assert right(check, answer) is expected


def test_the_shipped_suite_has_every_kind_of_task() -> None:
    suite = read_suite(SHIPPED)

    tasks = {case.task for case in suite.cases}
    assert tasks == {"classification", "extraction", "arithmetic", "retrieval", "screen", "knowledge"}
    assert suite.documents


def test_no_case_of_the_shipped_suite_is_right_about_nothing() -> None:
    assert not [case.id for case in read_suite(SHIPPED).cases if right(case.check, "I do not know 0.")]


def test_a_screen_case_carries_a_picture() -> None:
    case = next(case for case in read_suite(SHIPPED).cases if case.screen)

    content = request_body(case, {}, "auto")["messages"][0]["content"]

    png = base64.b64decode(content[1]["image_url"]["url"].partition(",")[2])
    image = Image.open(io.BytesIO(png))
    assert image.size[0] == 640
    assert image.convert("L").getextrema() == (0, 255)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cases: [{id: a, task: t, prompt: p, check: {}}]", "exactly one of"),
        ("cases: [{id: a, task: t, prompt: p, check: {number: 1, contains: [x]}}]", "exactly one of"),
        ("cases: [{id: a, task: t, prompt: p, check: {label: x, labels: [y]}}]", "not among its labels"),
        (
            "cases: [{id: a, task: t, prompt: p, check: {number: 1}}, {id: a, task: t, prompt: p, check: {number: 1}}]",
            "same id",
        ),
        ("cases: 3", "not a suite"),
        ("cases: []", "without cases"),
    ],
)
def test_a_suite_that_makes_no_sense_is_an_error(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "s.yaml").write_text(text)

    with pytest.raises(ConfigError, match=says):
        read_suite(tmp_path / "s.yaml")


def test_the_interval_of_a_proportion() -> None:
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-3)
    assert wilson(10, 10)[1] == pytest.approx(1.0)


class _Gateway(BaseHTTPRequestHandler):
    """Small is cheap and knows no sums; large knows everything."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path.startswith("/v1/documents"):
            return self._say(200, {"documents": [["d", 1]], "refused": []})
        asked = json.loads(body)
        if "break" in asked["messages"][0]["content"]:
            return self._say(503, {"error": {"message": "nobody is there"}})
        large = asked.get("turnout", {}).get("quality") == 1.0
        return self._say(
            200,
            {
                "model": "m",
                "choices": [{"message": {"content": "4" if large else "five"}}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 1},
                "turnout": {"component": "large" if large else "small", "cost_usd": 0.002 if large else 0.0},
            },
        )

    def _say(self, status: int, found: dict[str, Any]) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature of http.server
        """Quiet."""


@pytest.fixture
def gateway() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gateway)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_reports_what_each_policy_answered_and_cost(tmp_path: Path, gateway: str) -> None:
    suite = tmp_path / "s.yaml"
    suite.write_text(
        "documents: [{source: a, text: b}]\ncases:\n"
        "  - {id: one, task: sums, prompt: '2 + 2?', check: {number: 4}}\n"
        "  - {id: two, task: other, prompt: 'break', check: {number: 4}}\n"
    )

    result = CliRunner().invoke(app, ["live", "--suite", str(suite), "--url", gateway, "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    lines = {(line["policy"], line["task"]): line for line in report["lines"]}
    assert lines["best", "sums"]["quality"] == 1.0
    assert lines["cheapest", "sums"]["quality"] == 0.0
    assert lines["best", ""]["usd_per_1k"] == pytest.approx(1.0)
    assert lines["auto", ""]["components"] == {"small": 1}
    assert lines["auto", ""]["errors"] == 1
    assert "nobody is there" in result.output
    outcomes = (tmp_path / "out" / "outcomes.jsonl").read_text().splitlines()
    assert len(outcomes) == 6


def test_an_endpoint_that_is_not_there_is_an_error() -> None:
    result = CliRunner().invoke(app, ["live", "--url", "http://127.0.0.1:1"])

    assert result.exit_code == 1
    assert "no Turnout at" in result.output


def test_an_unknown_policy_is_an_error(gateway: str) -> None:
    result = CliRunner().invoke(app, ["live", "--url", gateway, "--policy", "luck"])

    assert result.exit_code == 78
    assert "not one of cheapest, best, auto" in result.output
