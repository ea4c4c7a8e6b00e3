"""A small world for the evals: some words make a prompt hard, and the strong model is right on hard prompts too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from evals.outcomes.read import from_rows
from evals.routing.matrix import Matrix, to_matrix

WEAK, STRONG = "small", "large"
_TOPICS = {
    "prove the theorem about": 0.05,
    "translate the word": 0.9,
    "add the numbers": 0.95,
    "derive the bound of": 0.1,
}
_THINGS = ["rings", "trees", "primes", "rivers", "lamps", "stones", "graphs", "fields"]


def frame(n: int = 240, *, priced: bool = True, seed: int = 1) -> pl.DataFrame:
    """An outcome table of two models."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, dict[str, Any] | str]] = []
    for i in range(n):
        topic = list(_TOPICS)[rng.integers(len(_TOPICS))]
        prompt = f"Please {topic} {rng.choice(_THINGS)} and {rng.choice(_THINGS)}, case {i}"
        for model, chance, usd in ((WEAK, _TOPICS[topic], 1e-4), (STRONG, 0.95, 2e-3)):
            row: dict[str, Any] = {
                "source": "world",
                "prompt_id": str(i),
                "prompt": prompt,
                "task": topic,
                "model": model,
                "quality": float(rng.random() < chance),
                "cost_usd": usd * (1 + 0.1 * float(rng.random())) if priced else None,
                "latency_s": float(rng.exponential(0.2)),
            }
            rows.append((len(rows) + 1, row))
    return from_rows(rows, "world").frame


def world(n: int = 240, *, priced: bool = True, seed: int = 1) -> Matrix:
    """The same as a matrix."""
    return to_matrix(frame(n, priced=priced, seed=seed), "world")


def table(path: Path, n: int = 240, *, priced: bool = True) -> Path:
    """The same as a file."""
    frame(n, priced=priced).write_parquet(path)
    return path
