"""Finds the GGUF file that a `source` names, and makes sure it is the one meant.

`pypi:PACKAGE==VERSION/PATH` lies in an installed package, `file:PATH` on disk, `hf://REPO/FILE@REVISION` is downloaded
once. Whatever it is, its sha256 is checked before llama.cpp reads a byte of it. The digest of an unchanged file (by
path, size and time) is remembered, so that a later start does not read it twice.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import httpx
import structlog

from services.contracts.errors import ConfigError

log = structlog.get_logger()

_PYPI = re.compile(r"pypi:(?P<package>[A-Za-z0-9._-]+)==(?P<version>[^/]+)/(?P<path>.+)")
_HF = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[\w./-]+)@(?P<revision>[\w./-]+)")
_READ_BYTES = 4 * 1024 * 1024
_LOG_EVERY = 0.05  # of the file
_REMEMBERED = 64
_HUB = "https://huggingface.co"


def cache_dir() -> Path:
    """Where downloads and remembered digests are kept: `TURNOUT_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("TURNOUT_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "turnout"


def resolve(source: str, sha256: str, base_dir: Path, cache: Path) -> Path:
    """The checked file. Blocks; downloads if it must.

    Args:
        source: as in the catalog.
        sha256: hex digest the file must have.
        base_dir: what a relative `file:` starts from.
        cache: a folder of ours.

    Raises:
        ConfigError: there is no such file, or it is another one; says what to do.
    """
    path = locate(source, sha256, base_dir, cache)
    got = Digests(cache / "digests.json").of(path)
    if got != sha256:
        raise ConfigError(
            f"{source}: this is not the file the catalog means. sha256 expected {sha256}, got {got}. "
            f"If {path} is what you want, put its digest into the catalog; if not, replace the file."
        )
    return path


def locate(source: str, sha256: str, base_dir: Path, cache: Path) -> Path:
    """The path a source stands for, its content not yet checked (but downloaded if need be)."""
    if match := _PYPI.fullmatch(source):
        return _installed(source, match["package"], match["version"], match["path"])
    if source.startswith("file:"):
        path = base_dir / Path(source.removeprefix("file:").removeprefix("//")).expanduser()
        if not path.is_file():
            raise ConfigError(f"{source}: there is no file {path}. Put the model there, or change `source`.")
        return path
    if match := _HF.fullmatch(source):
        if ".." in PurePosixPath(match["file"]).parts:
            raise ConfigError(f"{source}: `..` is not accepted in a file name")
        target = cache / "models" / sha256[:16] / PurePosixPath(match["file"]).name
        if not target.is_file():
            hub = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
            url = f"{hub}/{match['repo']}/resolve/{match['revision']}/{match['file']}"
            download(url, target, sha256, source)
        return target
    raise ConfigError(
        f"{source}: not a source. Use pypi:PACKAGE==VERSION/PATH/IN/WHEEL.gguf, file:PATH or hf://REPO/FILE@REVISION"
    )


def _installed(source: str, package: str, version: str, inside: str) -> Path:
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"{source}: {package} is not installed. Run: pip install {package}=={version}") from error
    if distribution.version != version:
        raise ConfigError(
            f"{source}: {package} {distribution.version} is installed, not {version}. "
            f"Run: pip install {package}=={version}, or change `source` and `sha256`."
        )
    listed = {str(PurePosixPath(file)) for file in distribution.files or ()}
    if inside not in listed:
        models = sorted(name for name in listed if name.endswith(".gguf"))
        has = f"it has {', '.join(models)}" if models else "it has no .gguf file"
        raise ConfigError(f"{source}: {package} {version} has no file {inside!r}; {has}")
    path = Path(str(distribution.locate_file(inside)))
    if not path.is_file():
        raise ConfigError(f"{source}: {path} is gone. Run: pip install --force-reinstall {package}=={version}")
    return path


def download(
    url: str, target: Path, sha256: str, source: str, client: Callable[[], httpx.Client] = httpx.Client
) -> None:
    """Fetch a file into `target`, going on where an earlier try ended. It gets its name only when it is complete.

    Raises:
        ConfigError: the server refuses, the connection ends early, or the content is another.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    have = part.stat().st_size if part.is_file() else 0
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with (
            client() as http,
            http.stream("GET", url, headers=headers, follow_redirects=True, timeout=httpx.Timeout(30.0)) as answer,
        ):
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                log.info("download_complete_before", file=str(part))
            elif answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                hint = " Set HF_TOKEN if the model is gated." if answer.status_code in (401, 403) else ""
                raise ConfigError(f"{source}: {url} answered {answer.status_code}.{hint}")
            else:
                resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
                _receive(answer, part, have if resumed else 0)
    except httpx.HTTPError as error:
        raise ConfigError(
            f"{source}: the download of {url} failed ({type(error).__name__}: {error}). Start again to go on with it."
        ) from error
    got = digest(part)
    if got != sha256:
        part.unlink()
        raise ConfigError(f"{source}: the downloaded file has sha256 {got}, the catalog says {sha256}")
    part.replace(target)


def _receive(answer: httpx.Response, part: Path, have: int) -> None:
    total = have + int(answer.headers.get("content-length", "0"))
    done, told = have, 0.0
    with part.open("ab" if have else "wb") as file:
        for block in answer.iter_bytes(1024 * 1024):
            file.write(block)
            done += len(block)
            if total and done / total >= told + _LOG_EVERY:
                told = done / total
                log.info("downloading", file=part.name, percent=round(100 * told), megabytes=done // 1_000_000)


def digest(path: Path) -> str:
    """The sha256 of a file, hex."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            hasher.update(block)
    return hasher.hexdigest()


class Digests:
    """Digests by path, size and time of change, kept in a small file. A file that cannot be read is an empty one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, file: Path) -> str:
        """The digest of a file, from memory if it has not changed.

        Raises:
            ConfigError: it cannot be read.
        """
        try:
            state = file.stat()
            key = f"{file.resolve()}:{state.st_size}:{state.st_mtime_ns}:{state.st_ino}"
            known = self._read()
            if key not in known:
                known[key] = digest(file)
                self._write(known)
            return known[key]
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

    def _write(self, known: dict[str, str]) -> None:
        newest = dict(list(known.items())[-_REMEMBERED:])
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as file:
                json.dump(newest, file)
            Path(file.name).replace(self._path)
        except OSError as error:
            log.warning("digest_not_remembered", path=str(self._path), reason=error.strerror)
