"""Reads a YAML file into a struct that says what may stand in it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from services.contracts.errors import ConfigError

Read = TypeVar("Read", bound=msgspec.Struct)


def read_yaml(path: Path, kind: type[Read], what: str) -> Read:
    """The contents of a file. `what` is what it should be, with its article, for errors.

    Raises:
        ConfigError: the file cannot be read or does not fit; says where.
    """
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), kind)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not {what}: {error}") from error
