"""The figures of a training as a table for the terminal and for docs/predictor.md."""

from __future__ import annotations

from evals.train.train import Result

_COLUMNS = ("n", "mean", "auc", "brier", "ece", "above", "above_mean")


def render(result: Result) -> str:
    """Markdown: by prompt, by kind of task held out whole, and the floors."""
    lines = [f"{result.rows} rows: " + ", ".join(f"{name} {count}" for name, count in result.sources.items()), ""]
    head = "| profile | split | n | mean | AUC | Brier | ECE | share >= 0.6 | observed there |"
    lines += [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, held in result.by_prompt.items():
        if name == "tokens":
            lines.append(
                f"\nexpected_output_tokens: R² of the logarithm {held['log_r2']:.2f} on {held['n']:.0f} prompts"
            )
            continue
        splits = {
            "held-out prompts": held,
            "held-out kinds of task": result.by_kind[name],
            "floor: constant": result.floors[name]["constant"],
            "floor: length": result.floors[name]["length"],
        }
        for split, figures in splits.items():
            cells = [f"{figures[c]:.0f}" if c == "n" else f"{figures[c]:.3f}" for c in _COLUMNS]
            lines.append(f"| {name} | {split} | {' | '.join(cells)} |")
    for name, groups in result.groups.items():
        if name == "tool_agent":
            continue
        lines += ["", f"{name}: kinds of task held out whole (predicted, observed, prompts)"]
        lines += [f"  {p:.2f} {y:.2f} {n:5d}  {group}" for group, (p, y, n) in groups.items()]
    return "\n".join(lines) + "\n"
