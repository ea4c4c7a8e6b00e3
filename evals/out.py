"""Where a command writes to: looked at before it works for minutes, not after."""

from __future__ import annotations

import os
from pathlib import Path

from services.contracts.errors import ConfigError


def folder(path: Path) -> Path:
    """The folder, made where it is not there yet.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: no folder can be made here: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"{path}: this folder cannot be written to")
    return path


def file(path: Path) -> Path:
    """The file, its folder made where it is not there yet. The file itself is not touched.

    Raises:
        ConfigError: it cannot be written.
    """
    folder(path.parent)
    if path.is_dir():
        raise ConfigError(f"{path}: a folder, where a file is to be written")
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"{path}: this file cannot be written to")
    return path
