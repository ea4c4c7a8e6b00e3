"""RouteLLM's recorded responses: `routellm/evals/**/*.csv`, one row a prompt, one column of True and False a model.

GSM8K's file has a second column for each model, `MODEL_response`, with what it said. MMLU has some questions twice, in
one file and in two, so that a prompt is known by its file and its place there.

Source: https://github.com/lm-sys/RouteLLM (Apache-2.0). The files hold prompts that its routers were trained on; the
repository lists them in `contaminated_prompts.jsonl`, which is left out where that file lies near the table.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.contracts.errors import ConfigError

_TRUTH = {"true": 1.0, "false": 0.0}
_NO_MODELS = frozenset({"prompt", "", "index", "Unnamed: 0", "answer", "question_id", "domain"})
_CONTAMINATED = "contaminated_prompts.jsonl"
_ANSWER = "_response"


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows of one CSV file, numbered by the line on which they end.

    Raises:
        ConfigError: it is no such file, or what lies beside it cannot be read.
    """
    try:
        yield from _rows(path)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a table of RouteLLM: {error}") from error


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    csv.field_size_limit(min(sys.maxsize, 1 << 24))
    seen_in_training = _contaminated(path)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or ()
        answers = {f"{name}{_ANSWER}" for name in columns}
        models = [name for name in columns if name not in _NO_MODELS and name not in answers]
        if "prompt" not in columns or not models:
            raise ConfigError(f"{path}: not a table of RouteLLM: it needs a `prompt` column and one for each model")
        for number, record in enumerate(reader):
            prompt = record["prompt"] or ""
            if prompt in seen_in_training:
                continue
            for model in models:
                quality = _quality(record[model])
                if quality is None:
                    yield reader.line_num, f"{model}: {record[model]!r} is neither True, False nor a number"
                    continue
                yield (
                    reader.line_num,
                    {
                        "source": f"routellm-{_benchmark(path)}",
                        "prompt_id": f"{path.name}#{number}",
                        "prompt": prompt,
                        "task": path.stem.removeprefix("mmlu_").removesuffix("_responses"),
                        "model": model,
                        "quality": quality,
                    },
                )


def _benchmark(path: Path) -> str:
    return "mmlu" if path.stem.startswith("mmlu_") else path.stem.removesuffix("_responses")


def _quality(cell: str | None) -> float | None:
    text = (cell or "").strip()
    if text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    try:
        return float(text)
    except ValueError:
        return None


def _contaminated(path: Path) -> frozenset[str]:
    for folder in (path.parent, path.parent.parent):
        if (listed := folder / _CONTAMINATED).is_file():
            try:
                with listed.open(encoding="utf-8") as lines:
                    return frozenset(str(json.loads(line)["eval_prompt"]) for line in lines if line.strip())
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{listed}: each line should be an object with `eval_prompt`") from error
    return frozenset()
