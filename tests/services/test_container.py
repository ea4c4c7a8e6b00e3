"""What a process does when it lives in a container: its name, its login, its sign of life."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.bus.memory import MemoryBus
from services.contracts.beat import Beat
from services.contracts.errors import ComponentUnavailable, ConfigError, NotFound
from services.worker import health
from services.worker.announcer import Announcer
from services.worker.identity import Identity
from services.worker.process import patiently


@pytest.fixture
def sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "health"
    monkeypatch.setenv(health.VARIABLE, str(file))
    return file


def check(sign: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", health.__file__]
    return subprocess.run(command, env={health.VARIABLE: str(sign)}, capture_output=True, text=True, check=False)


async def test_a_process_is_well_from_its_first_beat_on(sign: Path) -> None:
    assert check(sign).returncode == 1
    beat = Beat("eyes", "vision", "eyes-1", 1, 1, "host", "ready")
    await Announcer(MemoryBus(), lambda: beat).announce()
    assert (check(sign).returncode, check(sign).stdout) == (0, "ok\n")


@pytest.mark.parametrize("state", ["starting", "failed"])
def test_a_process_that_does_not_work_is_not_well(sign: Path, state: str) -> None:
    health.note(state)
    assert (check(sign).returncode, check(sign).stdout) == (1, f"{state}\n")


def test_a_process_that_hangs_is_not_well(sign: Path) -> None:
    health.note("ready")
    long_ago_s = time.time() - 60
    os.utime(sign, (long_ago_s, long_ago_s))
    assert "silent for 60 s" in health.problem(sign, time.time())


def test_a_missing_file_names_no_traceback(sign: Path) -> None:
    assert check(sign).stdout == "no sign of life yet: No such file or directory\n"
    assert check(sign).stderr == ""


def test_without_the_variable_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(health.VARIABLE, raising=False)
    health.note("ready")


def test_an_instance_without_a_name_is_called_after_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_COMPONENT", "eyes")
    monkeypatch.delenv("TURNOUT_INSTANCE", raising=False)
    monkeypatch.setattr("socket.gethostname", lambda: "node-1.example")
    assert Identity.from_environment().instance == f"eyes-node-1_example-{os.getpid()}"


def test_the_password_comes_from_its_file_and_stays_out_of_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    monkeypatch.setenv("TURNOUT_NATS_USER", "eyes")
    monkeypatch.setenv("TURNOUT_NATS_PASSWORD_FILE", str(tmp_path / "password"))
    identity = Identity.from_environment()
    assert identity.nats_login is not None
    assert (identity.nats_login.user, identity.nats_login.password) == ("eyes", "s3cret")
    assert "s3cret" not in repr(identity) + repr(identity.nats_login)


def test_a_password_that_is_not_there_is_a_mistake_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_NATS_USER", "eyes")
    monkeypatch.setenv("TURNOUT_NATS_PASSWORD_FILE", "/nowhere/at/all")
    with pytest.raises(ConfigError, match="TURNOUT_NATS_PASSWORD_FILE"):
        Identity.from_environment()


async def test_what_is_not_there_yet_is_waited_for() -> None:
    tried = 0

    async def attempt() -> str:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise NotFound("no catalog yet")
        return "the catalog"

    assert await patiently(attempt, 30) == "the catalog"


async def test_patience_ends() -> None:
    async def attempt() -> str:
        raise ComponentUnavailable("no NATS server")

    with pytest.raises(ComponentUnavailable, match="no NATS server"):
        await patiently(attempt, 0)
