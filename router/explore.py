"""Now and then another component than the policy's, drawn at random: so it is known how that one would have done. Pure.

The draw is made of the task's id: the same task is drawn alike by every router, and whoever has the log can check it.
"""

from __future__ import annotations

from dataclasses import replace

from router.policy import Choice, Plan, Wanted, with_front

PASSED_OVER = "passed over by chance"
DEGRADED = "drawn at random (router.explore)"


def explored(choice: Choice, wanted: Wanted, share: float, drawn: float) -> Choice:
    """The choice with, for a share of all draws, a plan in front that chance has taken.

    Every component that can do the task in time is equally likely to be taken, each by its best plan, whatever quality
    is predicted of it. What the policy would have taken keeps the rest of the probability.

    Args:
        share: of the draws. drawn: uniform in [0, 1).
    """
    able = _able(choice, wanted)
    if len(able) <= 1:
        return choice
    each = share / len(able)
    propensities = {plan.answering.component: each for plan in able}
    propensities[able[0].answering.component] += 1 - share
    if drawn >= share:
        return replace(choice, propensities=propensities)
    taken = able[min(int(drawn / each), len(able) - 1)]
    if taken is able[0]:
        return replace(choice, propensities=propensities)
    return replace(
        choice,
        order=(taken, *(plan for plan in choice.order if plan is not taken)),
        candidates=with_front(choice.candidates, taken, PASSED_OVER),
        degraded=DEGRADED,
        propensities=propensities,
        explored=True,
    )


def _able(choice: Choice, wanted: Wanted) -> list[Plan]:
    """The best plan of each component that can do the task in time and is awake, the policy's own choice first."""
    if not choice.order or not _in_time(choice.order[0], wanted):
        return []
    found: dict[str, Plan] = {}
    for plan in choice.order:
        if _in_time(plan, wanted):
            found.setdefault(plan.answering.component, plan)
    return list(found.values())


def _in_time(plan: Plan, wanted: Wanted) -> bool:
    return plan.finish_s <= wanted.deadline_in_s and all(beat.state != "asleep" for beat in plan.instances)
