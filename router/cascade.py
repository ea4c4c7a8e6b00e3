"""Whether to let a cheaper component try first. Pure: by expected value, before anything is asked.

The answer of the attempt is accepted if, once it is seen, its probability of being good reaches the floor (`verify`).
How often that will be is computed beforehand: the evidence moves the log-odds of a good answer up and those of a bad
one down, by a normal amount whose size the verifier's power tells.

Source: the equal-variance binormal model of signal detection, Green and Swets 1966; cascades of language models, Chen,
Zaharia and Zou, "FrugalGPT", 2023 (https://arxiv.org/abs/2305.05176).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from router.odds import bounded, log_odds
from router.policy import AGENTS, Choice, Plan, Wanted
from router.verify import Verifier

LEAST_SAVING = 0.2
"""An attempt costs the client time, so it must save at least this part of the price of going straight up."""
_RESERVE = 2.0


@dataclass(frozen=True)
class Cascade:
    """An attempt that pays.

    Attributes:
        accepted: how often its answer is expected to be; cost_usd: of the attempt and what may follow.
        reserved_s: what must be left of the time when it ends: that of the sure plan, and as much again.
    """

    attempt: Plan
    verifier: Verifier
    accepted: float
    cost_usd: float
    reserved_s: float


def cascade(choice: Choice, wanted: Wanted, verifiers: Mapping[str, Verifier]) -> Cascade | None:
    """The attempt that saves most, or None where it is best to go straight to the first plan.

    Args:
        verifiers: by component. Where nobody has measured what its evidence is worth, no attempt is made.
    """
    if not choice.order or choice.degraded is not None:
        return None
    sure = choice.order[0]
    found: list[Cascade] = []
    for plan in choice.order[1:]:
        verifier = verifiers.get(plan.answering.component)
        if verifier is None or not _can_try(plan, sure, wanted):
            continue
        accepted = acceptance(plan.quality, wanted.quality_floor, verifier.power)
        cost_usd = plan.cost_usd + (1 - accepted) * sure.cost_usd
        if cost_usd <= (1 - LEAST_SAVING) * sure.cost_usd:
            found.append(Cascade(plan, verifier, accepted, cost_usd, _RESERVE * sure.finish_s))
    return min(found, key=lambda one: one.cost_usd, default=None)


def acceptance(quality: float, floor: float, power: float) -> float:
    """How often an answer will be accepted, of which `quality` is expected."""
    p, gap = bounded(quality), log_odds(quality) - log_odds(floor)
    good, bad = (_normal((gap + sign * power**2 / 2) / power) for sign in (1, -1))
    return p * good + (1 - p) * bad


def _can_try(plan: Plan, sure: Plan, wanted: Wanted) -> bool:
    able = plan.answering
    return (
        len(plan.instances) == 1
        and able.component != sure.answering.component
        and able.kind not in AGENTS
        and able.state == "ready"
        and "logprobs" in able.capabilities
        and plan.cost_usd < sure.cost_usd
        and plan.finish_s + _RESERVE * sure.finish_s <= wanted.deadline_in_s
        and (wanted.max_cost_usd is None or plan.cost_usd + sure.cost_usd <= wanted.max_cost_usd)
    )


def _normal(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))
