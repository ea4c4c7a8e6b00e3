"""`up` with fake children on a real nats-server: starting, dying, stopping. The real ones are in tests/system."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nats.js.errors import ServiceUnavailableError

from services.bus.nats_errors import TRANSLATED
from services.contracts.errors import TurnoutError
from services.controller.screen import Screen
from services.controller.up import Options, up
from tests.services.controller.fleet import configuration, fleet
from tests.support.processes import await_none_left, await_true, marked, new_mark
from tests.support.running import free_port


def test_everything_starts_and_sigterm_stops_it_in_order(tmp_path: Path) -> None:
    with fleet(tmp_path, "one", "keyless") as running:
        running.await_ready()
        assert "3 processes serve (not configured: keyless)" in running.log
        assert f"http://127.0.0.1:{running.port}" in running.await_line("Turnout is ready")
        assert running.await_line("hello from one-1").startswith("one-1     | ")
        began_s = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 0
        assert time.monotonic() - began_s < 5
        assert running.log.count("Turnout is ready") == 1


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    with fleet(tmp_path, "one") as running:
        running.await_ready()
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 130


def test_the_end_of_the_terminal_ends_it_unless_that_is_to_be_ignored(tmp_path: Path) -> None:
    with fleet(tmp_path, "one") as running:
        running.await_ready()
        running.process.send_signal(signal.SIGHUP)
        assert running.end() == 0
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does, and a child inherits it
    try:
        with fleet(tmp_path, "one") as running:
            running.await_ready()
            running.process.send_signal(signal.SIGHUP)
            running.configure(one=2)  # it goes on
            running.await_line("is in force: ~ one.slots: 1 -> 2")
            running.process.send_signal(signal.SIGTERM)
            assert running.end() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_it_goes_on_when_nobody_reads_its_lines_any_more(tmp_path: Path) -> None:
    (tmp_path / "turnout.yaml").write_text(configuration({"one": 1}))
    port, mark = free_port(), new_mark()
    command = (sys.executable, "-m", "tests.services.controller.fleet", str(tmp_path / "turnout.yaml"), str(port))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **mark}, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        try:
            process.stderr.close()
            assert "Turnout is ready" in process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
    await_none_left(mark, 1.0)


def test_a_bus_that_cannot_keep_anything_says_how_much_room_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_self: object) -> None:
        with TRANSLATED:
            raise ServiceUnavailableError(code=503, description="insufficient storage resources available")

    monkeypatch.setattr("services.bus.nats_bus.NatsBus.ensure_storage", full)
    (tmp_path / "turnout.yaml").write_text(configuration({"one": 1}))
    with pytest.raises(TurnoutError, match=r"insufficient storage resources available \([\d,]+ MB are free there"):
        up(Options(tmp_path / "turnout.yaml", 0, environment={}), Screen())


def test_keys_that_the_gateway_cannot_have_are_not_put_in_force(tmp_path: Path) -> None:
    with fleet(tmp_path, "one") as running:
        running.await_ready()
        path = tmp_path / "turnout.yaml"
        path.write_text(f"gateway:\n  keys: {{env: OPENAI_API_KEY}}\n{path.read_text()}")
        running.await_line(f"not applied: {path}:2: gateway: keys: the gateway was started without keys in OPENAI_API_")
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 0
    with fleet(tmp_path) as running:  # with that configuration, it is given them
        running.await_ready()
        path.write_text(path.read_text().replace("slots: 1", "slots: 2"))
        running.await_line("is in force: ~ one.slots: 1 -> 2")
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 0


def test_a_child_that_does_not_stop_is_killed_in_time(tmp_path: Path) -> None:
    with fleet(tmp_path, "stubborn", "one") as running:
        running.await_ready()
        began_s = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 0
        assert time.monotonic() - began_s < 10  # 5 s where a core is free: 3.7 s of patience, and the end of it all
        assert "stubborn-1 did not stop" in running.log


def test_a_second_ctrl_c_kills_at_once(tmp_path: Path) -> None:
    with fleet(tmp_path, "stubborn") as running:
        running.await_ready()
        running.process.send_signal(signal.SIGINT)
        running.await_line("stopping 3 processes")
        began_s = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 130
        assert time.monotonic() - began_s < 2


@pytest.mark.parametrize("when", ["starting", "serving"])
def test_sigkill_of_the_parent_leaves_nothing_behind(tmp_path: Path, when: str) -> None:
    with fleet(tmp_path, "one", "stubborn") as running:
        if when == "serving":
            running.await_ready()
        else:
            # The children are still importing: they have not yet said a word.
            await_true(lambda: len(marked(running.mark)) >= 5, "children")
        running.process.kill()
        running.process.wait()
        await_none_left(running.mark, 2.0)


def test_a_killed_child_is_replaced_and_its_own_children_are_gone(tmp_path: Path) -> None:
    with fleet(tmp_path, "parent") as running:
        running.await_ready()
        old = running.pids_of("parent-1")
        assert len(old) == 2
        os.kill(min(old), signal.SIGKILL)
        running.await_line("parent-1 died (killed by SIGKILL); starting it again in 0.")
        running.await_line("my child is", times=2)
        assert not set(old) & set(running.pids_of("parent-1"))
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 0


def test_the_bus_is_replaced_and_its_children_find_it_again(tmp_path: Path) -> None:
    with fleet(tmp_path, "one") as running:
        running.await_ready()
        before = running.pids_of("one-1")
        os.kill(running.bus_pid(), signal.SIGKILL)
        running.await_line("the bus (nats-server) died")
        running.await_line("bus_reconnected", times=3)
        assert running.pids_of("one-1") == before
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 0


def test_a_component_that_cannot_run_stops_the_start_with_file_and_line(tmp_path: Path) -> None:
    with fleet(tmp_path, "one", "refusing") as running:
        assert running.end(30) == 78
        running.await_line(f"{tmp_path}/turnout.yaml:5: components.refusing: sha256: the file small.gguf has another")
        assert "Turnout is ready" not in running.log


def test_a_crashing_component_is_tried_again_and_the_others_run(tmp_path: Path) -> None:
    with fleet(tmp_path, "one", "crashing") as running:
        running.await_line("crashing-1 died (exit code 1: this one always crashes)", times=2)
        running.await_line("one-1 is ready")
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 0


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with fleet(tmp_path, "one", port=holder.getsockname()[1]) as running:
            assert running.end() == 1
            running.await_line("is taken; choose another: TURNOUT_PORT=")
            assert len(running.lines) == 1
    assert not (tmp_path / ".turnout").exists()


def test_two_on_one_state_folder_are_refused(tmp_path: Path) -> None:
    with fleet(tmp_path, "one") as first:
        first.await_ready()
        with fleet(tmp_path, "one", port=free_port()) as second:
            assert second.end() == 1
            second.await_line(f"another `turnout up` (process {first.process.pid}) uses")


def test_secrets_reach_only_the_component_that_names_them(tmp_path: Path) -> None:
    with fleet(tmp_path, "one") as running:
        running.await_ready()
        seen = {env.get("TURNOUT_INSTANCE", "bus or parent"): env for env in marked(running.mark).values()}
        assert seen.keys() == {"bus or parent", "gateway-1", "router-1", "one-1"}
        assert not any("OPENAI_API_KEY" in env for name, env in seen.items() if name != "bus or parent")
        assert [name for name, env in seen.items() if "TURNOUT_PORT" in env] == ["gateway-1"]
