"""LiteLLM's proxy in a virtual environment of its own, made on demand from a lock with hashes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from evals.bench.children import BenchError, clean_environment

LOCK = Path(__file__).with_name("litellm.lock")
_MARK = "lock.sha256"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def pinned(lock: str) -> dict[str, str]:
    """The packages of a lock and their versions."""
    return dict(_PINNED.findall(lock))


def ensure(folder: Path, tell: Callable[[str], None]) -> Path:
    """The `litellm` command of the environment in `folder`, which is made when missing or made from another lock.

    Raises:
        BenchError: pip failed; the end of its log is in the message.
    """
    lock = LOCK.read_text()
    digest = hashlib.sha256(lock.encode()).hexdigest()
    binary, mark = folder / "bin" / "litellm", folder / _MARK
    if binary.exists() and mark.exists() and mark.read_text() == digest:
        return binary
    shutil.rmtree(folder, ignore_errors=True)
    tell("making a virtual environment for LiteLLM")
    subprocess.run((sys.executable, "-m", "venv", str(folder)), check=True)  # noqa: S603 - our own interpreter
    _install(folder, len(pinned(lock)), tell)
    mark.write_text(digest)
    return binary


def _install(folder: Path, packages: int, tell: Callable[[str], None]) -> None:
    command = (
        *(str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"),
        *("--progress-bar", "off", "--require-hashes", "-r", str(LOCK)),
    )
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
                tell(f"fetching LiteLLM: package {seen} of {packages}, {last}")
            elif line.startswith("Installing "):
                tell(f"installing LiteLLM's {seen} packages (a minute or two)")
    if pip.returncode != 0:
        raise BenchError(f"LiteLLM could not be installed ({log}):\n{log.read_text()[-1500:]}")


def _pip_settings() -> dict[str, str]:
    """How this user reaches a package index: pip's own variables and the proxies."""
    wanted = ("PIP_", "SSL_CERT_")
    return {n: v for n, v in os.environ.items() if n.startswith(wanted) or n.lower().endswith("_proxy")}
