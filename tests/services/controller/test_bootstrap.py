from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from services.controller import bootstrap

SOURCE = Path(bootstrap.__file__)
ALL = ("venv", "ensurepip")


def missing(*programs: str) -> list[str]:
    have = {"c++", "cmake"} - set(programs)
    return bootstrap.problems((3, 12, 0), ALL, lambda name: f"/bin/{name}" if name in have else None, {})


def test_nothing_is_asked_for_where_everything_is_there() -> None:
    assert missing() == []


def test_all_that_is_missing_is_said_at_once_with_what_to_do() -> None:
    compiler, cmake = missing("c++", "cmake")
    assert "apt install build-essential" in compiler
    assert "apt install cmake" in cmake


def test_a_compiler_named_in_cxx_counts() -> None:
    found = bootstrap.problems((3, 12, 0), ALL, lambda n: n if n in ("mycc", "cmake") else None, {"CXX": "mycc -O2"})
    assert found == []


def test_an_old_python_is_told_so_and_nothing_else() -> None:
    (only,) = bootstrap.problems((3, 10, 9), (), lambda _: None, {})
    assert "3.11 or newer, and this is 3.10" in only


def test_a_python_without_venv_is_told_which_package() -> None:
    (only,) = bootstrap.problems((3, 12, 0), ("venv",), lambda name: name, {})
    assert "python3-venv" in only


def test_without_a_compiler_nothing_is_made(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", SOURCE, tmp_path / "venv"], env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 2
    assert not (tmp_path / "venv").exists()


def test_it_keeps_to_syntax_that_old_pythons_know() -> None:
    ast.parse(SOURCE.read_text(), feature_version=(3, 7))


def test_progress_counts_packages_and_compiled_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock"
    lock.write_text("a==1 \\\n    --hash=x\nb==2 \\\n    --hash=y\n    # via a\n")
    count = bootstrap._count_packages(lock)
    assert [count(line) for line in ("Collecting a==1\n", "  Downloading a\n", "Collecting b==2\n")] == [
        "1 of 2 a",
        None,
        "2 of 2 b",
    ]
    assert bootstrap._count_compiled("  [17/204] Building CXX object x.o\n") == "compiled 17 of 204 files"
    now_s = [0.0]
    progress = bootstrap.Progress(False, lambda: now_s[0])
    for second in range(12):
        now_s[0] = float(second)
        progress.show(f"step {second}")
    assert capsys.readouterr().out == "    step 5\n    step 10\n"
