"""The programs we are measured against, each in a virtual environment of its own, made from a lock with hashes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from evals.bench.children import BenchError, clean_environment

_MARK = "lock.sha256"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rival:
    """A program.

    Attributes:
        name: for people.
        lock: its packages.
        command: what runs it, within the `bin` of its environment.
        borrowed: packages taken from our own environment, because compiling them again would take minutes.
    """

    name: str
    lock: Path
    command: str = "python"
    borrowed: tuple[str, ...] = ()

    @property
    def versions(self) -> dict[str, str]:
        """Its packages and their versions."""
        return pinned(self.lock.read_text())


LITELLM = Rival("LiteLLM", Path(__file__).with_name("litellm.lock"), command="litellm")
XLLAMACPP = Rival("xllamacpp", Path(__file__).with_name("xllamacpp.lock"))
LLAMA_CPP_SERVER = Rival("llama_cpp.server", Path(__file__).with_name("llama_cpp_server.lock"), borrowed=("llama_cpp",))


def pinned(lock: str) -> dict[str, str]:
    """The packages of a lock and their versions."""
    return dict(_PINNED.findall(lock))


def ensure(rival: Rival, folder: Path, tell: Callable[[str], None]) -> Path:
    """The command of the environment in `folder`, which is made when missing or made from another lock.

    Raises:
        BenchError: pip failed; the end of its log is in the message.
    """
    digest = hashlib.sha256(rival.lock.read_bytes()).hexdigest()
    binary, mark = folder / "bin" / rival.command, folder / _MARK
    if binary.exists() and mark.exists() and mark.read_text() == digest:
        return binary
    shutil.rmtree(folder, ignore_errors=True)
    tell(f"making a virtual environment for {rival.name}")
    subprocess.run((sys.executable, "-m", "venv", str(folder)), check=True)  # noqa: S603 - our own interpreter
    _install(rival, folder, tell)
    for package in rival.borrowed:
        _borrow(package, folder)
    mark.write_text(digest)
    return binary


def _borrow(package: str, folder: Path) -> None:
    """Link a package of our environment into another one of the same Python."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise BenchError(f"{package} is not installed here")
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / package).symlink_to(Path(found.origin).parent, target_is_directory=True)


def _install(rival: Rival, folder: Path, tell: Callable[[str], None]) -> None:
    command = (
        *(str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"),
        *("--progress-bar", "off", "--require-hashes", "-r", str(rival.lock)),
    )
    packages = len(rival.versions)
    seen, last = 0, ""
    log = folder / "pip.log"
    with (
        log.open("w") as file,
        subprocess.Popen(  # noqa: S603 - our own command line
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(**_pip_settings()),
        ) as pip,
    ):
        for line in pip.stdout or ():
            file.write(line)
            if line.startswith("Collecting "):
                seen, last = seen + 1, line.split()[1].partition("==")[0]
                tell(f"fetching {rival.name}: package {seen} of {packages}, {last}")
            elif line.startswith("Installing "):
                tell(f"installing {rival.name}'s {seen} packages (a minute or two)")
    if pip.returncode != 0:
        raise BenchError(f"{rival.name} could not be installed ({log}):\n{log.read_text()[-1500:]}")


def _pip_settings() -> dict[str, str]:
    """How this user reaches a package index: pip's own variables and the proxies."""
    wanted = ("PIP_", "SSL_CERT_")
    return {n: v for n, v in os.environ.items() if n.startswith(wanted) or n.lower().endswith("_proxy")}
