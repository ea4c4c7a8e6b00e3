"""Reads a price file: model -> USD per million tokens of input and of output, in YAML or JSON."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import yaml

from evals.routing.matrix import Price
from services.contracts.errors import ConfigError


def read_prices(path: Path) -> dict[str, Price]:
    """Prices by model.

    Raises:
        ConfigError: the file cannot be read, or is not such a table.
    """
    try:
        found = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), dict[str, Price])
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a table of prices: {error}") from error
    for model, price in found.items():
        if not all(math.isfinite(usd) and usd >= 0 for usd in (price.input_usd_per_mtok, price.output_usd_per_mtok)):
            raise ConfigError(f"{path}: {model}: a price is negative or not finite")
    return found
