"""Whether the file behind a local model's `source` is there and is the one that was meant. Nothing is fetched."""

from __future__ import annotations

import hashlib
import re
from importlib import metadata
from pathlib import Path

from services.contracts.errors import ConfigError

_MAGIC = b"GGUF"
_PYPI = re.compile(r"pypi:(?P<package>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_-]+)/(?P<path>.+)")
_HUB = re.compile(r"hf://[^/@\s]+/[^/@\s]+/[^@\s]+@[^@\s]+")


def check_model_file(source: str, sha256: str, base_dir: Path) -> None:
    """Look at the file, if it is one that must be here already.

    Raises:
        ConfigError: it is missing, is no GGUF file, or has another digest. Starts with the key that is wrong.
    """
    path = locate(source, base_dir)
    if path is None:
        return
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ConfigError(f"source: {path} is not a GGUF file")
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ConfigError(f"source: there is no file {path}") from error
    except OSError as error:
        raise ConfigError(f"source: {path} cannot be read: {error.strerror or error}") from error
    if found != sha256:
        raise ConfigError(
            f"sha256: the file {path} has {found}; it is truncated or another one. "
            "Fetch it again, or put this digest here if the file is the one you want"
        )


def locate(source: str, base_dir: Path) -> Path | None:
    """Where the file of a source lies; None if it is fetched when the component starts.

    Raises:
        ConfigError: the source is of no known form, or its package is not installed.
    """
    if source.startswith("file:"):
        return base_dir / Path(source.removeprefix("file:").removeprefix("//")).expanduser()
    if _HUB.fullmatch(source):
        return None
    match = _PYPI.fullmatch(source)
    if match is None:
        raise ConfigError(
            "source: must be `pypi:PACKAGE==VERSION/PATH/IN/WHEEL.gguf`, `file:PATH` or `hf://OWNER/REPO/FILE@REVISION`"
        )
    package, version = match["package"], match["version"]
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError as error:
        raise ConfigError(f"source: package {package} is not installed: pip install {package}=={version}") from error
    if found.version != version:
        raise ConfigError(f"source: package {package} is here in version {found.version}, not {version}")
    return Path(str(found.locate_file(match["path"])))
