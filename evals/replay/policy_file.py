"""A policy to ask about: which of a decision's candidates it would have taken. Pure, but for reading the file.

rule: cheapest-good-enough    # or: best, cheapest, always
quality: 0.8                  # floor of the first rule
max_cost_usd: 0.01            # optional, of one request
deadline_s: 5                 # optional, expected time to the end of the answer
without: [cloud]              # optional, components that are not there
component: small              # of the rule `always`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from evals.yaml_file import read_yaml
from services.contracts.decision import Candidate
from services.contracts.errors import ConfigError

# Reasons that are the logged policy's own taste, in the words of `router.policy`. Another policy may see it otherwise;
# all other reasons say that the candidate could not do the task.
_TASTE = ("dearer", "not better", "later", "predicted quality", "expected after", "costs about", "passed over")


class ReplayPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    rule: Literal["cheapest-good-enough", "best", "cheapest", "always"]
    quality: float = 0.0
    max_cost_usd: float | None = None
    deadline_s: float | None = None
    without: tuple[str, ...] = ()
    component: str = ""


def read_policy(path: Path) -> ReplayPolicy:
    """The policy of a YAML file.

    Raises:
        ConfigError: the file cannot be read or is no policy.
    """
    policy = read_yaml(path, ReplayPolicy, "a policy")
    if policy.rule == "always" and not policy.component:
        raise ConfigError(f"{path}: the rule `always` needs a `component`")
    if not 0 <= policy.quality <= 1:
        raise ConfigError(f"{path}: quality is not within 0..1")
    for name in ("max_cost_usd", "deadline_s"):
        limit = getattr(policy, name)
        if limit is not None and not limit >= 0:
            raise ConfigError(f"{path}: {name} is not a number from 0 on")
    return policy


def able(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that could have done the task."""
    return [c for c in candidates if c.steps and (c.rejected is None or c.rejected.startswith(_TASTE))]


def rechoose(policy: ReplayPolicy, candidates: Sequence[Candidate]) -> Candidate | None:
    """What the policy takes, or None where nothing is left that could do the task.

    A wish that nothing meets is waived, as the router does: then the best of what is left is taken.
    """
    left = [c for c in able(candidates) if not set(c.steps) & set(policy.without)]
    if policy.rule == "always":
        return next((c for c in left if c.steps[-1] == policy.component), None)
    if not left:
        return None
    affordable = [c for c in left if policy.max_cost_usd is None or c.cost_usd <= policy.max_cost_usd] or left
    in_time = [c for c in affordable if policy.deadline_s is None or c.finish_s <= policy.deadline_s] or affordable
    if policy.rule == "cheapest":
        return min(in_time, key=lambda c: (c.cost_usd, -_quality(c), c.finish_s))
    if policy.rule == "cheapest-good-enough" and (good := [c for c in in_time if _quality(c) >= policy.quality]):
        return min(good, key=lambda c: (c.cost_usd, -_quality(c), c.finish_s))
    return max(in_time, key=lambda c: (_quality(c), -c.cost_usd, -c.finish_s))


def _quality(candidate: Candidate) -> float:
    return 0.0 if candidate.quality is None else candidate.quality
