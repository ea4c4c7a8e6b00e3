"""A decision log as arrays: what was chosen, with which chance, what came of it, and what was expected of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from evals.outcomes.decisions import Logged
from evals.replay.estimate import Floats, Ints
from evals.replay.policy_file import ReplayPolicy, able, rechoose
from services.contracts.errors import ConfigError

FIGURES = ("quality", "cost_usd", "latency_s")


@dataclass(frozen=True)
class Replayed:
    """[n] decisions over [m] components.

    Attributes:
        components: [m] names. taken, wanted: [n], by number.
        chance: [n], of what was taken; could: [n], whether what is wanted might have been taken.
        outcome: by figure, [n], NaN where unknown. hints: by figure, [n, m], as the router predicted.
        unanswerable: decisions for which the policy has nobody; they are left out of everything above.
    """

    components: tuple[str, ...]
    taken: Ints
    wanted: Ints
    chance: Floats
    could: np.ndarray[tuple[int], np.dtype[np.bool_]]
    outcome: dict[str, Floats]
    hints: dict[str, Floats]
    unanswerable: int


def replayed(decisions: Iterable[Logged], policy: ReplayPolicy) -> Replayed:
    """Put the policy to every decision that the router was free to make.

    Raises:
        ConfigError: the log has no such decision, or does not know a component that the policy names.
    """
    free = [d for d in decisions if d.requested == "auto" and d.component and d.candidates]
    seen = {step for decision in free for candidate in decision.candidates for step in candidate.steps}
    if free and (strangers := {*policy.without, *([policy.component] if policy.component else [])} - seen):
        who = ", ".join(sorted(strangers))
        raise ConfigError(f"{who}: no decision of the log has considered this; it has {', '.join(sorted(seen))}")
    pairs = [(decision, chosen) for decision in free if (chosen := rechoose(policy, decision.candidates)) is not None]
    if not pairs:
        raise ConfigError("no decision of the log was the router's own to make and can be made by this policy")
    names = sorted({c.steps[-1] for d, _ in pairs for c in able(d.candidates)} | {d.component for d, _ in pairs})
    number = {name: i for i, name in enumerate(names)}
    kept = [decision for decision, _ in pairs]
    wanted = np.array([number[chosen.steps[-1]] for _, chosen in pairs], dtype=np.intp)
    taken = np.array([number[decision.component] for decision in kept], dtype=np.intp)
    return Replayed(
        components=tuple(names),
        taken=taken,
        wanted=wanted,
        chance=np.array([d.propensities.get(d.component, 1.0) for d in kept]),
        could=np.array(
            [d.propensities.get(names[w], float(w == t)) > 0 for d, w, t in zip(kept, wanted, taken, strict=True)]
        ),
        outcome={figure: np.array([_outcome(decision, figure) for decision in kept]) for figure in FIGURES},
        hints={figure: _hints(kept, number, figure) for figure in FIGURES},
        unanswerable=len(free) - len(pairs),
    )


def _outcome(decision: Logged, figure: str) -> float:
    if figure == "quality":
        return np.nan if decision.quality is None else decision.quality
    if figure == "cost_usd":
        return decision.usage.cost_usd
    return np.nan if decision.total_ms is None else decision.total_ms / 1000


def _hints(decisions: Sequence[Logged], number: dict[str, int], figure: str) -> Floats:
    """What was predicted of each component; of several ways that end in the same one, the first."""
    hints = np.full((len(decisions), len(number)), np.nan)
    for row, decision in enumerate(decisions):
        for candidate in able(decision.candidates):
            at = number[candidate.steps[-1]]
            value = {"quality": candidate.quality, "cost_usd": candidate.cost_usd, "latency_s": candidate.finish_s}[
                figure
            ]
            if np.isnan(hints[row, at]) and value is not None:
                hints[row, at] = value
    return hints
