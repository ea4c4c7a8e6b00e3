"""The gateway benchmark around its measuring: what it reads, what it configures, what it reports."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from evals.bench import gateway, machine, rival, systems, wrk
from evals.bench.children import BenchError, child, clean_environment
from evals.bench.report import FLOOR, Floor, Report, show
from evals.bench.samples import Sample, Spread, targets
from services.contracts.catalog import Catalog, LlmCloud

PRINTED = (
    "Running 1s test @ http://127.0.0.1:1\n"
    '{"requests":30,"duration_s":2.0,"bytes":9000,"p50_ms":1.5,"p90_ms":2.0,"p99_ms":3.0,"max_ms":4.0,'
    '"errors":{"connect":0,"read":0,"write":0,"status":0,"timeout":0}}\n'
)


def fake_wrk(folder: Path, printed: str) -> wrk.Wrk:
    path = folder / "wrk"
    path.write_text(f"#!{sys.executable}\nimport sys\nsys.stdout.write({printed!r})\n")
    path.chmod(0o755)
    return wrk.Wrk(str(path))


def test_the_last_line_of_wrk_is_the_result() -> None:
    result = wrk.parse(PRINTED)
    assert (result.rps, result.p50_ms, result.p99_ms, result.errors.total) == (15.0, 1.5, 3.0, 0)


@pytest.mark.parametrize("printed", ["", "Requests/sec: 3", PRINTED.replace('"bytes":9000,', "")])
def test_anything_else_is_no_result(printed: str) -> None:
    with pytest.raises(BenchError, match="no result"):
        wrk.parse(printed)


@pytest.mark.parametrize(
    ("printed", "least_bytes", "why"),
    [
        (PRINTED.replace('"status":0', '"status":1'), 300, "status=1"),
        (PRINTED, 301, "too short"),
    ],
)
def test_wrong_answers_under_load_end_the_run(tmp_path: Path, printed: str, least_bytes: int, why: str) -> None:
    with pytest.raises(BenchError, match=why):
        fake_wrk(tmp_path, printed).run("http://127.0.0.1:1", "m", 1, 1, clean_environment(), least_bytes)


def test_good_answers_under_load_are_a_result(tmp_path: Path) -> None:
    result = fake_wrk(tmp_path, PRINTED).run("http://127.0.0.1:1", "m", 1, 1, clean_environment(), 300)
    assert result.requests == 30


def test_without_wrk_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BenchError, match="apt-get install wrk"):
        wrk.find(install=False)


def test_the_configuration_it_writes_is_one_that_turnout_takes() -> None:
    catalog = Catalog.model_validate(systems.turnout_config("http://127.0.0.1:9"))
    [spec] = catalog.components.values()
    assert isinstance(spec, LlmCloud)
    assert spec.base_url == "http://127.0.0.1:9/v1"


def test_litellm_has_the_same_upstream_and_price_and_no_extras() -> None:
    config = systems.litellm_config("http://127.0.0.1:9")
    [model] = config["model_list"]
    [spec] = Catalog.model_validate(systems.turnout_config("http://127.0.0.1:9")).components.values()
    assert spec.price is not None
    assert model["litellm_params"]["api_base"] == "http://127.0.0.1:9/v1"
    assert model["litellm_params"]["input_cost_per_token"] * 1e6 == pytest.approx(spec.price.input_usd_per_mtok)
    assert model["litellm_params"]["output_cost_per_token"] * 1e6 == pytest.approx(spec.price.output_usd_per_mtok)
    assert config["litellm_settings"]["callbacks"] == []


@pytest.mark.parametrize(
    ("opponent", "package", "least"),
    [
        (rival.LITELLM, "litellm", 51),
        (rival.XLLAMACPP, "xllamacpp", 1),
        (rival.LLAMA_CPP_SERVER, "starlette-context", 15),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_every_package_of_a_rival_is_pinned_with_a_hash(opponent: rival.Rival, package: str, least: int) -> None:
    lock = opponent.lock.read_text()
    packages = rival.pinned(lock)
    assert packages[package]
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert len(entries) >= len(packages)  # one for some platforms, another for the rest
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert len(packages) >= least


def test_children_do_not_see_the_users_keys_and_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "DATABASE_URL", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "x")
    assert clean_environment(ONE="1").keys() <= {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "ONE"}


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_a_child_is_stopped_with_what_it_has_started(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(sys.argv[1], 'w').write(str(grandchild.pid))\n"
        "time.sleep(600)\n"
    )
    told = tmp_path / "told"
    os.mkfifo(told)  # reading it waits for the writer
    with child((sys.executable, "-c", code, str(told)), tmp_path / "log", clean_environment()) as process:
        grandchild = os.pidfd_open(int(told.read_text()))
    try:
        assert process.poll() is not None
        ended, _, _ = select.select([grandchild], [], [], 10)
        assert ended
    finally:
        os.close(grandchild)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_processor_time_is_counted_with_that_of_children() -> None:
    code = "import time\nwhile time.process_time() < 0.1: pass\nprint('worked', flush=True)\ninput()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert sum(machine.cpu_seconds(process.pid).values()) >= 0.09
        assert sum(machine.cpu_seconds(os.getpid()).values()) > sum(machine.cpu_seconds(process.pid).values())
    finally:
        process.communicate(b"\n")


@pytest.mark.parametrize(
    "arguments", [["--systems", "turnout,nginx"], ["--loads", "c1,c1024"], ["--rounds", "0"], ["--seconds", "0"]]
)
def test_a_command_line_that_asks_for_the_unknown_fails(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gateway.main(arguments) == 2
    assert capsys.readouterr().out.strip()


def report() -> Report:
    values = {"rps": 100.0, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_ms": 0.5}
    samples = [
        *(Sample(1, name, "c16", {**values, "rps": rps}) for name, rps in (("mock", 900.0), ("turnout", 300.0))),
        Sample(1, "litellm 1w", "c16", {**values, "rps": 60.0}, {"litellm": 16.0}, 1.5),
        Sample(1, FLOOR, "c1", {"p50_ms": 0.43}),
    ]
    floor = Floor(Spread(0.43, 0.4, 0.5), Spread(0.86, 0.8, 0.9), {"turnout": 2.58})
    return Report(machine.facts(litellm="1.0"), {"rounds": 1}, samples, targets(samples), floor)


def test_the_json_has_the_facts_the_summary_and_every_sample() -> None:
    found = json.loads(json.dumps(report().as_json()))
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["versions"]["litellm"] == "1.0"
    assert {"system": "mock", "load": "c16"}.items() <= found["summary"][0].items()
    assert found["summary"][0]["rps"] == {"median": 900.0, "least": 900.0, "most": 900.0}
    assert len(found["samples"]) == 4
    assert found["targets"][0]["met"] is False
    assert found["floor"]["sum_ms"] == pytest.approx(1.29)


def test_the_tables_show_systems_floor_and_missed_targets() -> None:
    out = StringIO()
    show(report(), Console(file=out, width=160))
    text = out.getvalue()
    assert "litellm 1w" in text
    assert "missed" in text
    assert "2.0 times" in text
