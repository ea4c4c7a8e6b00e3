"""Makes the virtual environment that `make` uses. Run as a script by the system's Python, before anything is installed.

So it imports nothing but the standard library, and keeps to syntax that older Pythons run (3.7 on), so that they can
say that they are too old. Each step that is done leaves a stamp with the digest of its lock: a run that was
interrupted goes on where it stopped. The locks are complete and hashed; nothing is resolved here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

OLDEST = (3, 11)
_SHOWN_LINES = 40
_SHOW_EVERY_S = 5.0
_COMPILED = re.compile(r"^\s*\[(\d+)/(\d+)\]")
_NO_COMPILER = (
    "a C++ compiler is missing: on Debian or Ubuntu `sudo apt install build-essential`, "
    "on macOS `xcode-select --install`"
)
_NO_CMAKE = "cmake is missing: on Debian or Ubuntu `sudo apt install cmake`, on macOS `brew install cmake`"
_NO_VENV = "this Python cannot make virtual environments: on Debian or Ubuntu `sudo apt install python3-venv`"


def problems(
    version: tuple[int, ...], modules: Sequence[str], which: Callable[[str], str | None], environ: Mapping[str, str]
) -> list[str]:
    """What is missing on this machine, each with what to do. Pure.

    Args:
        version: of this Python.
        modules: names of standard modules that can be found.
        which: like `shutil.which`.
        environ: like `os.environ`.
    """
    if version[:2] < OLDEST:
        found = ".".join(str(part) for part in version[:2])
        return [f"Turnout needs Python 3.11 or newer, and this is {found}; try: make PYTHON=python3.12 run"]
    missing = [] if {"venv", "ensurepip"} <= set(modules) else [_NO_VENV]
    compilers = environ.get("CXX", "").split()[:1] or ["c++", "g++", "clang++"]
    if not any(which(name) for name in compilers):
        missing.append(_NO_COMPILER)
    if not which("cmake"):
        missing.append(_NO_CMAKE)
    return missing


class Progress:
    """Says how far a step is: on a terminal in one line that changes, elsewhere in a line every few seconds."""

    def __init__(self, terminal: bool, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._terminal = terminal
        self._clock_s = clock_s
        self._told_s = clock_s()
        self._last = ""

    def show(self, text: str) -> None:
        """Say it, if it is news and time for it."""
        now_s = self._clock_s()
        if text == self._last or (not self._terminal and now_s < self._told_s + _SHOW_EVERY_S):
            return
        self._last, self._told_s = text, now_s
        sys.stdout.write("\r\033[K    " + text if self._terminal else "    " + text + "\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Leave no half line behind."""
        if self._terminal and self._last:
            sys.stdout.write("\r\033[K")
            sys.stdout.flush()


class Environment:
    """A virtual environment in the making."""

    def __init__(self, folder: Path, project: Path) -> None:
        self._folder = folder
        self._project = project
        self._python = folder / "bin" / "python"
        self._log = folder / "install.log"

    def make(self) -> None:
        """Take all steps that are not done.

        Raises:
            SystemExit: one failed; what it said has been shown.
        """
        if not self._python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(self._folder)], check=True)  # noqa: S603 - our own Python
        build, packages, llama = (
            self._project / name for name in ("requirements-build.lock", "requirements.lock", "requirements-llama.lock")
        )
        self._step("1/4 build tools", "build", build, ["-r", str(build)], _count_packages(build))
        self._step("2/4 packages", "packages", packages, ["-r", str(packages)], _count_packages(packages))
        self._step(
            "3/4 llama.cpp, compiled for this machine: about 6 minutes on 2 cores, once",
            "llama",
            llama,
            ["-v", "--no-build-isolation", "-r", str(llama)],
            _count_compiled,
        )
        project_file = self._project / "pyproject.toml"
        self._step(
            "4/4 turnout", "turnout", project_file, ["--no-build-isolation", "-e", str(self._project)], _count_nothing
        )

    def _step(
        self, title: str, name: str, lock: Path, arguments: list[str], count: Callable[[str], str | None]
    ) -> None:
        stamp = self._folder / (".done-" + name)
        digest = hashlib.sha256(lock.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        sys.stdout.write("==> " + title + "\n")
        sys.stdout.flush()
        hashes = [] if "-e" in arguments else ["--require-hashes"]
        pip = [str(self._python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
        code = self._run([*pip, "--no-deps", *hashes, *arguments], count)
        if code != 0:
            lines = self._log.read_text(errors="replace").splitlines()
            sys.stderr.write("\n".join(lines[-_SHOWN_LINES:]) + "\n")
            sys.exit(f"==> {title} failed; all of its output is in {self._log}. Run it again to go on.")
        stamp.write_text(digest)

    def _run(self, command: list[str], count: Callable[[str], str | None]) -> int:
        environ = dict(os.environ)
        environ["CMAKE_ARGS"] = ("-DLLAVA_BUILD=OFF " + environ.get("CMAKE_ARGS", "")).strip()
        progress = Progress(sys.stdout.isatty())
        child = subprocess.Popen(  # noqa: S603 - our own pip
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, encoding="utf-8", errors="replace"
        )
        with child, self._log.open("w", encoding="utf-8") as log:
            for line in child.stdout or ():
                log.write(line)
                told = count(line)
                if told is not None:
                    progress.show(told)
        progress.end()
        return child.returncode


def _count_packages(lock: Path) -> Callable[[str], str | None]:
    """Says how many of a lock's packages are found, then that they are being installed."""
    total = sum(1 for line in lock.read_text().splitlines() if re.match(r"^[A-Za-z0-9]", line))
    seen = [0]

    def count(line: str) -> str | None:
        if line.startswith(("Collecting ", "Requirement already satisfied", "Ignoring ")):
            seen[0] += 1
            name = line.split()[1].split("==", maxsplit=1)[0] if line.startswith("Collecting ") else ""
            return f"{min(seen[0], total)} of {total} {name}".rstrip()
        if line.startswith("Installing collected packages"):
            return "installing"
        return None

    return count


def _count_compiled(line: str) -> str | None:
    found = _COMPILED.match(line)
    if found:
        return f"compiled {found.group(1)} of {found.group(2)} files"
    stripped = line.strip()
    if stripped.startswith(
        ("Downloading ", "Using cached ", "Preparing metadata", "Building wheel", "Installing coll")
    ):
        return stripped[:70]
    return None


def _count_nothing(_line: str) -> str | None:
    return None


def _findable(name: str) -> bool:
    import importlib.util  # noqa: PLC0415 - old Pythons must get as far as being told that they are old

    return importlib.util.find_spec(name) is not None


def main() -> None:
    """The script."""
    parser = argparse.ArgumentParser(description="Makes the virtual environment that `make` uses.")
    parser.add_argument("folder", type=Path, help="where, such as .venv")
    folder = parser.parse_args().folder
    if not (folder / ".done-llama").exists():  # once compiled, nothing is needed for it
        found = problems(
            sys.version_info[:3], [m for m in ("venv", "ensurepip") if _findable(m)], shutil.which, os.environ
        )
        if found:
            sys.exit("\n".join("error: " + text for text in found))
    try:
        Environment(folder, Path(__file__).resolve().parents[2]).make()
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; run it again to go on")


if __name__ == "__main__":
    main()
