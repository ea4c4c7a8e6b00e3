"""The error for a task that no component may take: the status says whose move it is, the message what to do. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from router.journey import Journey
from router.policy import Choice
from services.contracts.beat import Beat
from services.contracts.errors import (
    BudgetExceeded,
    ComponentUnavailable,
    ContextLengthExceeded,
    ModelNotFound,
    NoCapableComponent,
    TurnoutError,
    Unsupported,
)

_RETRY_AFTER_S = 2.0
_LASTING = ("cannot", "does not honour", "not local", "has no image", "context of")
"""How the reasons begin that waiting does not mend."""


def refusal(journey: Journey, choice: Choice, beats: Sequence[Beat]) -> TurnoutError:
    """Why `choice` leaves nobody to try."""
    if choice.order and choice.degraded:
        return NoCapableComponent(f"strict: {choice.degraded}", retry_after_s=_RETRY_AFTER_S)
    pinned = journey.wanted.pinned
    if pinned is not None:
        return _pinned_refusal(pinned, journey, choice, beats)
    if choice.out_of_budget:
        return BudgetExceeded("no component can do this within max_cost_usd; " + _reasons(choice))
    rejected = [c.rejected or "" for c in choice.candidates]
    too_long = [reason for reason in rejected if reason.startswith("context of")]
    if too_long and all(reason in too_long or reason.startswith("cannot") for reason in rejected):
        return ContextLengthExceeded(
            "the prompt is too long for every component; " + _reasons(choice), param="messages"
        )
    considered = {c.steps[-1] for c in choice.candidates}
    if journey.settings.profiles.keys() <= considered and all(reason.startswith(_LASTING) for reason in rejected):
        return Unsupported("no component here can do this; " + _reasons(choice))
    return NoCapableComponent("no running component can do this; " + _reasons(choice), retry_after_s=_RETRY_AFTER_S)


def _pinned_refusal(pinned: str, journey: Journey, choice: Choice, beats: Sequence[Beat]) -> TurnoutError:
    if pinned not in journey.settings.profiles:
        known = ", ".join(["auto", *sorted(journey.settings.profiles)])
        return ModelNotFound(f"there is no model {pinned!r} here; known: {known}", param="model")
    own = [c.rejected for c in choice.candidates if c.steps[-1] == pinned and c.rejected]
    if own and own[0].startswith("costs"):
        return BudgetExceeded(f"{pinned} {own[0]}")
    if own and own[0].startswith("context of"):
        return ContextLengthExceeded(f"the prompt is too long for {pinned}: its {own[0]}", param="messages")
    if own:
        return Unsupported(f"{pinned} {own[0]}", param="model")
    details = sorted({f"{beat.state}: {beat.detail}".rstrip(": ") for beat in beats if beat.component == pinned})
    return ComponentUnavailable(
        f"{pinned} is not ready" + (f" ({'; '.join(details)})" if details else ""), retry_after_s=_RETRY_AFTER_S
    )


def _reasons(choice: Choice) -> str:
    if not choice.candidates:
        return "none is running"
    return "; ".join(f"{' -> '.join(c.steps)}: {c.rejected}" for c in choice.candidates[:8])
