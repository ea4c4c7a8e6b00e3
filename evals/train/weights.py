"""Writes what the router loads: sixteen bits a weight, no pickle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from evals.train.fit import HEADS, SCALAR_GAIN
from evals.train.train import Result
from services.contracts.predictor_file import FORMAT, SCALARS, Meta

Array = npt.NDArray[Any]
Verifiers = Mapping[str, tuple[float, ...]]
_NONE: Verifiers = {}
SOURCES = (
    "lm-sys/RouteLLM 0b64fda, gpt4 and mixtral answers to MMLU and GSM8K (Apache-2.0)",
    "ulab-uiuc/LLMRouter 4e7a796 (MIT)",
    "RouterBench, train subset as kept in RouterDC 0e63989 (MIT)",
    "ParetoBandit 72ccbef (Apache-2.0)",
    "Berkeley Function Calling Leaderboard, results of 2024-08-11 (Apache-2.0)",
    "own measurements of SmolLM2-135M-Instruct and Qwen2.5-Coder-0.5B/1.5B-Instruct (Apache-2.0)",
    "own grammar of computations (Apache-2.0)",
)


def write(
    path: Path, result: Result, *, trained: str, sources: tuple[str, ...] = SOURCES, verifiers: Verifiers = _NONE
) -> None:
    """The weights file. Its bytes depend on the model alone, so that its hash names it."""
    model, settings = result.model, result.settings
    meta = Meta(
        format=FORMAT,
        trained=trained,
        buckets=settings.buckets,
        heads=HEADS,
        sources=sources,
        verifiers=dict(verifiers),
        figures={name: {k: round(v, 4) for k, v in f.items() if v == v} for name, f in result.by_prompt.items()},  # noqa: PLR0124 - leaves NaN out
    )
    arrays: dict[str, Array] = {
        "meta": np.frombuffer(msgspec.json.encode(meta), dtype=np.uint8),
        "weights": model.weights[:-SCALARS].astype(np.float16),
        "scalar_weights": (model.weights[-SCALARS:] * SCALAR_GAIN).astype(np.float32),
        "familiar": model.familiar.astype(np.uint8),
        "idf": model.idf.astype(np.float16),
        "calibration": model.calibration.astype(np.float32),
        "tokens_smear": np.array([model.tokens_smear], dtype=np.float32),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
