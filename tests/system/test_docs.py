"""Runs what the documentation shows: `python` and `bash` blocks on a running system, `yaml` blocks through the parser.

Blocks marked `console` are for reading.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from evals.replay.policy_file import read_policy
from evals.simulate.config import read_plan
from services.contracts.catalog_file import load
from tests.support.running import TURNOUT, Running, running

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[object]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [
        pytest.param(found.group(2), id=f"{page.name}:{text[: found.start()].count(chr(10)) + 1}")
        for page in pages
        for text in [page.read_text()]
        for found in _BLOCK.finditer(text)
        if found.group(1) == language
    ]


@pytest.fixture(scope="module")
def default_system() -> Iterator[Running]:
    config = yaml.safe_load((ROOT / "turnout.yaml").read_text())
    with running(config) as system:
        yield system


def environment(system: Running) -> dict[str, str]:
    return {**os.environ, "TURNOUT_URL": system.url}


def at(code: str, system: Running) -> str:
    return code.replace("http://127.0.0.1:8080", system.url).replace(".venv/bin/turnout", str(TURNOUT))


@pytest.mark.parametrize("code", blocks("python"))
def test_python_block_runs(code: str, default_system: Running, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", at(code, default_system)],
        cwd=tmp_path,
        env=environment(default_system),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("code", blocks("bash"))
def test_bash_block_runs(code: str, default_system: Running, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", at(code, default_system)],
        cwd=tmp_path,
        env=environment(default_system),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"error"' not in done.stdout


READERS: dict[str, Callable[[Path], object]] = {"rule": read_policy, "rates": read_plan}
"""By the first key of a block; every other one is a catalog."""


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_block_is_what_its_reader_takes(text: str, tmp_path: Path) -> None:
    path = tmp_path / "block.yaml"
    path.write_text(text)
    READERS.get(text.partition(":")[0], load)(path)


def test_default_configuration_is_valid() -> None:
    assert set(load(ROOT / "turnout.yaml").components) >= {"small", "cloud", "eyes", "docs", "tools", "screen"}


@pytest.mark.parametrize("line", re.findall(r"^\d+\. `([^`]+)`", (ROOT / "README.md").read_text(), re.MULTILINE))
def test_way_of_a_request_names_what_exists(line: str) -> None:
    path, _, name = line.partition(":")
    text = (ROOT / path).read_text()
    for part in name.split("."):
        assert re.search(rf"(?:def|class) {part}\b", text), f"{part} is not in {path}"
