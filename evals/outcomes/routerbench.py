"""RouterBench's pickled table: one row a prompt; for each model its score, its answer and what it cost.

Source: Hu et al., "RouterBench", 2024 (https://arxiv.org/abs/2403.12031; MIT).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evals.outcomes.pickled_frame import read_frame
from services.contracts.errors import ConfigError

_COST = "|total_cost"


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows of the table, numbered from 1 as they stand in it."""
    columns = read_frame(path)
    models = [name.removesuffix(_COST) for name in columns if name.endswith(_COST)]
    wanted = ["sample_id", "prompt", "eval_name", *models]
    if not models or (missing := [name for name in wanted if name not in columns]):
        lacking = missing if models else [f"…{_COST}"]
        raise ConfigError(f"{path}: not RouterBench's table: column {', '.join(lacking)} is missing")
    for at in range(len(columns["prompt"])):
        for model in models:
            yield (
                at + 1,
                {
                    "source": "routerbench",
                    "prompt_id": str(columns["sample_id"][at]),
                    "prompt": _text(columns["prompt"][at]),
                    "task": str(columns["eval_name"][at]),
                    "model": model,
                    "quality": columns[model][at],
                    "cost_usd": columns[model + _COST][at],
                },
            )


def _text(prompt: object) -> str:
    """The prompt. It is kept as the text of a Python list with the turns in it."""
    text = str(prompt)
    if not text.startswith("["):
        return text
    try:
        turns = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return "\n".join(str(turn) for turn in turns)
