"""Published benchmark scores of small models: labels for real prompts whose gold answers the tables do not hold.

Every prompt of a benchmark gets the model's published mean. That says nothing of which prompt is harder, but it is what
teaches the tiny and small profiles that such prompts are not theirs.

Source: for `tiny` the SmolLM2-135M and SmolLM2-135M-Instruct model cards (Hugging Face) and arXiv 2502.02737.
For `small` the mean of Qwen2.5-0.5B and Qwen2.5-1.5B (instruct where reported) in arXiv 2412.15115, section 5.
Multiple-choice scores of the tiny model are by likelihood over the options, which flatters a model that must say the
letter.
"""

from __future__ import annotations

# Benchmark, as it occurs in a group's name -> (tiny, small).
SCORES: dict[str, tuple[float, float]] = {
    "gsm8k": (0.014, 0.61),
    "mgsm": (0.014, 0.50),
    "math": (0.01, 0.45),
    "mmlu": (0.25, 0.54),
    "gpqa": (0.05, 0.10),
    "arc": (0.30, 0.50),
    "openbook": (0.30, 0.50),
    "commonsense_qa": (0.30, 0.50),
    "hellaswag": (0.30, 0.50),
    "winogrande": (0.50, 0.58),
    "truthful_qa": (0.25, 0.43),
    "trivia_qa": (0.04, 0.12),
    "natural_qa": (0.03, 0.15),
    "human_eval": (0.01, 0.48),
    "mbpp": (0.01, 0.55),
    "bbh": (0.25, 0.38),
    "logicgrid": (0.03, 0.06),
}
WEIGHT = 0.5


def benchmark_of(group: str) -> str | None:
    """The benchmark of a group named `source:task`, or None where nothing is published."""
    source, _, task = group.partition(":")
    if source == "routellm-mmlu":
        return "mmlu"
    name = task.replace("-", "_").lower()
    return next((key for key in SCORES if key in name), None)


def scores_of(group: str) -> tuple[float, float] | None:
    """(tiny, small) for a group, or None where nothing is published."""
    benchmark = benchmark_of(group)
    return None if benchmark is None else SCORES[benchmark]
