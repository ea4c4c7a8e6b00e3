"""The recorded rewards inside ParetoBandit's wheel: about 1,800 prompts for training, about as many to test, 3 models.

Source: ParetoBandit (Apache-2.0), https://pypi.org/project/paretobandit/0.1.1/.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from services.contracts.errors import ConfigError

Split = Literal["val", "test_holdout"]
_FOLDER = "pareto_bandit/data/examples"


class _Arm(msgspec.Struct):
    reward: float
    cost: float


class _Line(msgspec.Struct):
    prompt: str
    source: str
    arms: dict[str, _Arm]


_DECODER = msgspec.json.Decoder(_Line)


def rows(path: Path, split: Split = "val") -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows of one split, out of the wheel (`.whl`) or out of its own `.jsonl`, numbered by line."""
    for number, line in enumerate(_lines(path, split), start=1):
        try:
            record = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield number, str(error)
            continue
        prompt_id = hashlib.sha256(record.prompt.encode()).hexdigest()[:16]
        for model, arm in record.arms.items():
            yield (
                number,
                {
                    "source": "paretobandit",
                    "prompt_id": prompt_id,
                    "prompt": record.prompt,
                    "task": record.source,
                    "model": model,
                    "quality": arm.reward,
                    "cost_usd": arm.cost,
                },
            )


def _lines(path: Path, split: Split) -> list[bytes]:
    if path.suffix == ".jsonl":
        return path.read_bytes().splitlines()
    member = f"{_FOLDER}/{split}.jsonl"
    try:
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(member).splitlines()
    except (zipfile.BadZipFile, KeyError) as error:
        raise ConfigError(f"{path}: no {member} in it: is it the wheel of paretobandit?") from error
