"""Which way a task goes: the cheapest plan that is good enough and fast enough. Pure: no clock, no I/O, no logging.

A plan is a chain of components: one that answers, and before it those that make the task answerable for it (an image
read into text, passages found in the documents).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import msgspec

from router.learning import shifted, way
from router.needs import Needs
from router.predictor import Estimate
from router.session import Held
from services.contracts.beat import Beat
from services.contracts.decision import Candidate
from services.contracts.draw import draw

# Service times assumed before an instance has shown its own, in seconds.
_UNKNOWN_SERVICE_S = {"llm_local": 1.0, "llm_cloud": 2.0, "vision": 0.8, "retrieval": 0.05}
_UNKNOWN_OTHER_S = 0.5
_UNKNOWN = Estimate(0.5, 0.5)
_UNKNOWN_PREFILL_TPS = 1000.0
_MOST_SAVED = 0.9
_AS_GOOD_AS_FIRST = 1.1
# Source: https://platform.openai.com/docs/guides/prompt-caching
_LEAST_CACHED_TOKENS = 1024
WAKE_S = 5.0
"""Until a sleeping component serves: what loading a small model takes."""
AGENTS = frozenset({"tool_agent", "screen_agent"})
"""Components that ask others."""
_MAX_AGENT_DEPTH = 0
_AGENT_QUESTIONS = 2
"""How often an agent asks a model, at the least: what to do, and for the answer."""


@dataclass(frozen=True)
class Wanted:
    """The wishes that apply to this task, defaults filled in. Times are seconds from now."""

    quality_floor: float
    max_cost_usd: float | None
    deadline_in_s: float
    pinned: str | None = None
    depth: int = 0


@dataclass(frozen=True)
class Profile:
    """How the predictor sees a component: the name of its learned profile, or a mean that the operator has set."""

    name: str
    quality: float | None = None


_NO_PROFILE = Profile("tiny")


@dataclass(frozen=True)
class World:
    """One consistent view of everything a choice depends on.

    Attributes:
        beats: instances that are ready. pending: tasks sent to an instance since its last beat.
        profiles: by component. relevance: probability that the documents answer the question, 0..1.
        offsets: what feedback has taught of each way (`router.learning`).
        held: who has the beginning of this conversation in its cache.
        conversation: makes its name, the same for every router and every turn (`router.session`), where that is needed.
    """

    beats: Sequence[Beat]
    profiles: Mapping[str, Profile]
    pending: Mapping[str, int]
    relevance: float = 0.0
    excluded: frozenset[str] = frozenset()
    offsets: Mapping[str, float] = field(default_factory=dict)
    held: Held | None = None
    conversation: Callable[[], str] = str


@dataclass(frozen=True)
class Plan:
    """A chain of instances with what is expected of it.

    Attributes:
        rejected: why it is not eligible, or None.
        prior: what the predictor alone says of its quality; None where it was not asked or the operator knows better.
    """

    instances: tuple[Beat, ...]
    quality: float
    cost_usd: float
    wait_s: float
    finish_s: float
    rejected: str | None = None
    prior: float | None = None

    @property
    def answering(self) -> Beat:
        """Who gives the answer."""
        return self.instances[-1]

    @property
    def steps(self) -> tuple[str, ...]:
        """The components, in order."""
        return tuple(beat.component for beat in self.instances)

    def candidate(self, rejected: str | None, *, predicted: bool) -> Candidate:
        """This plan as it is kept in the decision."""
        return Candidate(
            steps=self.steps,
            quality=round(self.quality, 4) if predicted else None,
            cost_usd=self.cost_usd,
            wait_s=round(self.wait_s, 4),
            finish_s=round(self.finish_s, 4),
            rejected=rejected,
        )


@dataclass(frozen=True)
class Choice:
    """The outcome: plans in the order in which to try them, and the record of all that were considered.

    Attributes:
        propensities: probability of each component to be the first, where chance had a say (`router.explore`).
        explored: chance put another plan in front.
    """

    order: tuple[Plan, ...]
    candidates: tuple[Candidate, ...]
    degraded: str | None = None
    out_of_budget: bool = False
    propensities: Mapping[str, float] = field(default_factory=dict)
    explored: bool = False


def choose(
    needs: Needs, wanted: Wanted, world: World, estimates: Mapping[str, Estimate], output_tokens: float
) -> Choice:
    """Order the plans for a task.

    Those that reach the quality floor and meet the deadline come first, the cheapest in front; on equal cost the
    better, then the sooner. After them, as a way out that is marked degraded, the others by quality.
    """
    plans = [_assess(plan, needs, wanted) for plan in _plans(needs, wanted, world, estimates, output_tokens)]
    eligible = [plan for plan in plans if plan.rejected is None]
    good = sorted(
        (p for p in eligible if _misses(p, wanted) is None), key=lambda p: (p.cost_usd, -p.quality, p.finish_s)
    )
    rest = sorted(
        (p for p in eligible if _misses(p, wanted)),
        key=lambda p: (p.finish_s > wanted.deadline_in_s, -p.quality, p.cost_usd),
    )
    order = (*good, *rest)
    degraded = _misses(order[0], wanted) if order else None
    predicted = bool(estimates)
    considered = [(plan, _why_not(plan, order[0], wanted)) for plan in order]
    considered += [(plan, plan.rejected) for plan in plans if plan.rejected is not None]
    candidates = tuple(plan.candidate(reason, predicted=predicted) for plan, reason in considered)
    # Of all reasons to reject, the price alone is the caller's to change; what cannot do the task has no say in it.
    out_of_budget = not order and any(p.rejected is not None and p.rejected.startswith("costs") for p in plans)
    return Choice(order, candidates, degraded, out_of_budget)


def with_front(candidates: Sequence[Candidate], taken: Plan, passed_over: str) -> tuple[Candidate, ...]:
    """The record with another plan in front: exactly one candidate is not rejected, the one that was taken."""
    front = [msgspec.structs.replace(c, rejected=None) for c in candidates if c.steps == taken.steps]
    rest = [c for c in candidates if c.steps != taken.steps]
    return (*front, *(c if c.rejected else msgspec.structs.replace(c, rejected=passed_over) for c in rest))


def shortcoming(beat: Beat, needs: Needs, *, image_read: bool, pinned: bool) -> str | None:
    """Why an instance cannot do this at all, or None.

    Args:
        beat: the instance. needs: of the task.
        image_read: another component reads the images for it.
        pinned: the caller named it, so that components which only `answer` when named will do.
    """
    able = frozenset(beat.capabilities)
    if pinned and "answer" in able:
        able |= {"chat", "image"} if "read" in able else {"chat"}
    missing = sorted(needs.capabilities - able)
    if missing:
        return f"cannot do {', '.join(missing)}"
    if beat.kind == "screen_agent" and not needs.images:
        return "has no image to look at"
    if needs.images and not image_read and "image" not in able:
        return "cannot see images"
    if needs.params.difference(beat.params) and "chat" in needs.capabilities:
        return f"does not honour {', '.join(sorted(needs.params.difference(beat.params)))}"
    if needs.local_only and not beat.local:
        return "not local, and the request says privacy: local"
    if beat.context_tokens is not None and needs.least_input_tokens > beat.context_tokens:
        return f"context of {beat.context_tokens} tokens is too small"
    return None


def _plans(
    needs: Needs, wanted: Wanted, world: World, estimates: Mapping[str, Estimate], output_tokens: float
) -> list[Plan]:
    """Every chain worth a look: the quickest instance of each component, alone and with helpers before it."""
    best = _quickest(world)
    reader = _helper(best, needs, "read") if needs.images else None
    searcher = _helper(best, needs, "search") if world.relevance > 0 else None

    def plans_of(beat: Beat) -> list[Plan]:
        chains: list[tuple[Beat, ...]] = [(beat,)]
        is_model = "chat" in beat.capabilities and "chat" in needs.capabilities
        if is_model and reader is not None and "image" not in beat.capabilities:
            chains = [(reader, beat)]
        elif is_model and searcher is not None and not needs.images:
            chains.append((searcher, beat))
        return [_plan(chain, needs, world, estimates, output_tokens) for chain in chains]

    named = [beat for component, beat in best.items() if wanted.pinned in (None, component)]
    agents = [beat for beat in named if beat.kind in AGENTS]
    if wanted.pinned is None and wanted.depth > _MAX_AGENT_DEPTH:
        agents = []  # an agent's own questions go to models, so no chain of agents can run in circles
    plans = [plan for beat in named if beat.kind not in AGENTS for plan in plans_of(beat)]
    if not agents:
        return plans
    models = plans if wanted.pinned is None else [p for b in best.values() if b.kind not in AGENTS for p in plans_of(b)]
    question_usd = _question_usd(models, needs, wanted)
    priced = [_plan((beat,), needs, world, estimates, output_tokens, question_usd) for beat in agents]
    return [*plans, *priced]


def _question_usd(models: Sequence[Plan], needs: Needs, wanted: Wanted) -> float:
    """What an agent pays for a question of its own: the price of the model that it would be answered by."""
    able = [p for p in models if "chat" in p.answering.capabilities and (p.answering.local or not needs.local_only)]
    good = [plan.cost_usd for plan in able if plan.quality >= wanted.quality_floor]
    if good:
        return min(good)
    return max(able, key=lambda plan: (plan.quality, -plan.cost_usd)).cost_usd if able else 0.0


def _quickest(world: World) -> dict[str, Beat]:
    """Of each component the instance that finishes first."""
    found: dict[str, list[Beat]] = {}
    for beat in world.beats:
        if beat.instance not in world.excluded:
            found.setdefault(beat.component, []).append(beat)
    return {component: beats[0] if len(beats) == 1 else _first(beats, world) for component, beats in found.items()}


def _first(beats: Sequence[Beat], world: World) -> Beat:
    """Of several the one that finishes first.

    Times are estimates. Among those that are as good as first it is the one that holds the conversation, else one of
    the least busy, and of them always the same for a conversation, whichever router chooses: what follows will find
    its beginning there.

    Source: rendezvous hashing, Thaler and Ravishankar, 1998.
    """
    finish_s = [_times(beat, world)[1] for beat in beats]
    latest_s = min(finish_s) * _AS_GOOD_AS_FIRST
    near = [beat for beat, at_s in zip(beats, finish_s, strict=True) if at_s <= latest_s]
    if world.held is not None:
        for beat in near:
            if beat.instance == world.held.instance:
                return beat
    least = min(_ahead(beat, world) / beat.slots for beat in near)
    idle = [beat for beat in near if _ahead(beat, world) / beat.slots == least]
    name = world.conversation()
    return max(idle, key=lambda beat: draw(f"{name} {beat.instance}", "instance"))


def _ahead(beat: Beat, world: World) -> int:
    """Tasks that an instance has been given and not done."""
    return beat.in_use + beat.queued + world.pending.get(beat.instance, 0)


def _helper(best: Mapping[str, Beat], needs: Needs, capability: str) -> Beat | None:
    able = [b for b in best.values() if capability in b.capabilities and (b.local or not needs.local_only)]
    return min(able, key=lambda b: (b.price.request_usd, b.speed.service_s), default=None)


def _plan(
    chain: tuple[Beat, ...],
    needs: Needs,
    world: World,
    estimates: Mapping[str, Estimate],
    output_tokens: float,
    question_usd: float = 0.0,
) -> Plan:
    """One chain with what is expected of it. `question_usd`: what an agent pays for each question to a model."""
    answering = chain[-1]
    most = needs.max_output_tokens
    expected_out = output_tokens if most is None else min(output_tokens, most)
    cached = min(_cached_tokens(answering, world), needs.input_tokens)
    cost = sum(beat.price.request_usd for beat in chain[:-1]) + answering.price.cost_usd(
        needs.input_tokens, round(expected_out), cached
    )
    times = [_times(beat, world) for beat in chain]
    prior = quality = _quality(chain, needs, world, estimates)
    if answering.kind in AGENTS:
        # What the tool agent is good at it does without a model.
        cost += _AGENT_QUESTIONS * question_usd * (1 - prior if answering.kind == "tool_agent" else 1)
    learnt = "chat" in needs.capabilities and bool(estimates) and _profile(answering, world).quality is None
    if learnt and world.offsets:
        steps = tuple(beat.component for beat in chain)
        quality = shifted(prior, world.offsets.get(way(steps, answering.model), 0.0))
    return Plan(
        instances=chain,
        quality=quality,
        prior=prior if learnt else None,
        cost_usd=cost,
        wait_s=sum(wait for wait, _ in times),
        finish_s=sum(finish for _, finish in times),
    )


def _quality(chain: tuple[Beat, ...], needs: Needs, world: World, estimates: Mapping[str, Estimate]) -> float:
    """Predicted probability that this chain answers well.

    With a helper the model answers from a text that holds the answer, if the helper found it. Without one, where the
    documents bear on the question, an answer from memory counts only for the rest of the probability.
    """
    answering = chain[-1]
    profile = _profile(answering, world)
    if "chat" not in needs.capabilities:
        return 1.0

    def learned(name: str) -> float:
        return estimates.get(name, _UNKNOWN).quality if profile.quality is None else profile.quality

    if len(chain) > 1:
        grounded = learned(f"grounded_{profile.name}")
        return grounded if needs.images else grounded * world.relevance
    alone = learned(profile.name)
    return alone if answering.kind in AGENTS or needs.images else alone * (1 - world.relevance)


def _profile(beat: Beat, world: World) -> Profile:
    return world.profiles.get(beat.component, _NO_PROFILE)


def _times(beat: Beat, world: World) -> tuple[float, float]:
    """(seconds until a slot is free, seconds until the answer is complete)."""
    service_s = beat.speed.service_s or _UNKNOWN_SERVICE_S.get(beat.kind, _UNKNOWN_OTHER_S)
    finish_s = service_s - _saved_s(beat, world, service_s)
    ahead = _ahead(beat, world)
    wait_s = 0.0 if ahead < beat.slots else service_s * (ahead - beat.slots + 1) / beat.slots
    if beat.state == "asleep":
        wait_s = WAKE_S
    return wait_s, wait_s + finish_s


def _saved_s(beat: Beat, world: World, service_s: float) -> float:
    """What an instance saves that need not read the beginning of the conversation again."""
    if world.held is None or world.held.instance != beat.instance or beat.kind != "llm_local":
        return 0.0
    tokens_per_s = beat.facts.get("prefill_tps") or _UNKNOWN_PREFILL_TPS
    return min(world.held.tokens / tokens_per_s, _MOST_SAVED * service_s)


def _cached_tokens(beat: Beat, world: World) -> int:
    """Input tokens that are charged at the price of cached ones. Vendors cache long beginnings only."""
    if world.held is None or world.held.component != beat.component:
        return 0
    return world.held.tokens if beat.kind == "llm_local" or world.held.tokens >= _LEAST_CACHED_TOKENS else 0


def _assess(plan: Plan, needs: Needs, wanted: Wanted) -> Plan:
    reason = shortcoming(plan.answering, needs, image_read=len(plan.instances) > 1, pinned=wanted.pinned is not None)
    if reason is None and wanted.max_cost_usd is not None and plan.cost_usd > wanted.max_cost_usd:
        reason = f"costs about {_usd(plan.cost_usd)}, over the limit of {_usd(wanted.max_cost_usd)}"
    return plan if reason is None else replace(plan, rejected=reason)


def _usd(cost_usd: float) -> str:
    """An amount in full, however small: a request to a local model costs less than a millionth of a dollar."""
    return f"${Decimal(f'{cost_usd:.6g}'):f}"


def _misses(plan: Plan, wanted: Wanted) -> str | None:
    """Which wish an eligible plan falls short of, or None. A pinned component is what the caller wants."""
    if wanted.pinned is None and plan.quality < wanted.quality_floor:
        return f"predicted quality {plan.quality:.2f} is below the floor of {wanted.quality_floor:.2f}"
    if plan.finish_s > wanted.deadline_in_s:
        return f"expected after {plan.finish_s:.1f} s, the deadline is in {wanted.deadline_in_s:.1f} s"
    return None


def _why_not(plan: Plan, chosen: Plan, wanted: Wanted) -> str | None:
    if plan is chosen:
        return None
    if (miss := _misses(plan, wanted)) is not None:
        return miss
    if plan.cost_usd > chosen.cost_usd:
        return "dearer"
    return "not better at the same cost" if plan.quality <= chosen.quality else "later at the same cost"
