"""One training row, and the reading of the tables it comes from."""

from __future__ import annotations

import importlib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router.features import Features, bounded

# Which class of model each measured one belongs to. What fits none of our classes is left out.
CLASS_OF: Mapping[str, str] = {
    "meta-llama/llama-3.1-8b-instruct": "medium",
    "mistralai/mistral-large-2512": "large",
    "google/gemini-2.5-pro": "large",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "medium",
    "gpt-4-1106-preview": "large",
    "mistralai/mixtral-8x7b-chat": "medium",
    "mistralai/mistral-7b-chat": "medium",
    "qwen2.5-7b-instruct": "medium",
    "llama-3.1-8b-instruct": "medium",
    "gemma-2-9b-it": "medium",
    "meta-llama_Meta-Llama-3-8B-Instruct": "medium",
    "NousResearch_Hermes-2-Pro-Llama-3-8B": "medium",
    "NousResearch_Hermes-2-Pro-Mistral-7B": "medium",
    "Salesforce_xLAM-1b-fc-r": "small",
    "claude-3-5-sonnet-20240620": "large",
    "gpt-4-turbo-2024-04-09": "large",
    "gpt-4o-2024-08-06-FC": "large",
}
# USD per million (input, output) tokens, to read the length of an answer off its cost.
# Source: the vendors' price lists for these models at the time of measurement.
_PRICES = {"gpt-4-1106-preview": (10.0, 30.0), "mistralai/mistral-large-2512": (0.5, 1.5)}
_CHARS_PER_TOKEN = 4.0


@dataclass(frozen=True)
class Label:
    """A measured or assumed quality, 0..1, and how much it counts."""

    quality: float
    weight: float = 1.0


@dataclass
class Row:
    """One prompt with what is known of the answers to it.

    Attributes:
        group: the kind of task, for splits that hold whole kinds out.
        measured: which labels may be scored against; the others are assumptions.
    """

    features: Features
    source: str
    group: str
    labels: dict[str, Label] = field(default_factory=dict)
    measured: frozenset[str] = frozenset()
    output_tokens: float | None = None


def prompt_features(prompt: str, system: str = "", *, has_tools: bool = False, wants_json: bool = False) -> Features:
    """The features of a single turn, as `router.features` makes them of a request."""
    parts = [system.strip(), bounded(prompt)]
    return Features(
        text="\n\n".join(part for part in parts if part),
        turns=1,
        prompt_chars=len(prompt) + len(system),
        has_images=False,
        has_tools=has_tools,
        wants_json=wants_json,
        system_chars=len(system),
    )


def read_table(path: Path) -> Iterator[Row]:
    """The prompts of a Parquet outcome table; see `rows_of`."""
    return rows_of(_records(path))


def rows_of(
    records: Iterable[dict[str, Any]], class_of: Mapping[str, str] = CLASS_OF, lengths: Container[str] = ("large",)
) -> Iterator[Row]:
    """The prompts of an outcome table, each with the mean quality of every class of model that answered it.

    `lengths` are the classes whose answers tell how long an answer is.
    """
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_prompt.setdefault(str(record["prompt_id"]), []).append(record)
    for answered in by_prompt.values():
        first = answered[0]
        found: dict[str, list[float]] = {}
        for record in answered:
            if (size := class_of.get(record["model"])) is not None and record["quality"] is not None:
                found.setdefault(size, []).append(float(record["quality"]))
        yield Row(
            features=prompt_features(first["prompt"], has_tools=str(first["source"]).startswith("bfcl")),
            source=str(first["source"]),
            group=f"{first['source']}:{first['task']}",
            labels={size: Label(sum(qualities) / len(qualities)) for size, qualities in found.items()},
            measured=frozenset(found),
            output_tokens=_output_tokens([one for one in answered if class_of.get(one["model"]) in lengths]),
        )


def _output_tokens(records: list[dict[str, Any]]) -> float | None:
    found: list[float] = []
    for record in records:
        if record["output_tokens"] is not None:
            found.append(float(record["output_tokens"]))
        elif record["cost_usd"] is not None and (price := _PRICES.get(record["model"])) is not None:
            in_usd = len(record["prompt"]) / _CHARS_PER_TOKEN * price[0] / 1e6
            found.append(max((record["cost_usd"] - in_usd) / price[1] * 1e6, 1.0))
    return sum(found) / len(found) if found else None


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        # Imported here: only Parquet needs it, and everything else of the evals runs without.
        polars = importlib.import_module("polars")
    except ImportError as error:
        raise SystemExit(f"{path} is Parquet: `pip install polars` to read it") from error
    rows: list[dict[str, Any]] = polars.read_parquet(path).to_dicts()
    return rows
