"""The way of a task through the router, as a LangGraph graph.

    choose -> [prepare ->] end
      ^__________|         a failure before the first byte: choose among the rest
      ^---- [verify] -> end   a cheaper one tries first; what it says goes to the client if it is good enough

Tokens pass through here only where an answer is to be verified: else a node hands the task over and ends when the
answering instance has begun.

The graph is written for LangGraph's runtime itself (`Pregel`): a node wakes when the journey is written to the channel
of its name. The same graph made by `StateGraph` takes a step more, in which the input becomes the state, and nearly
twice the time. Each node costs a third of a millisecond at least, so that the plain way, understand, choose and hand
over, is one node.

Source: https://docs.langchain.com/oss/python/langgraph/pregel
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from operator import methodcaller
from typing import Any, Final, Literal

import msgspec
import structlog
from langgraph.channels import EphemeralValue
from langgraph.pregel import NodeBuilder, Pregel
from langgraph.pregel._write import ChannelWriteEntry

from router.cascade import cascade
from router.coming import Coming
from router.dispatch import Dispatcher
from router.enrich import with_passages, with_screen_text
from router.explore import explored
from router.features import features_of
from router.generations import serving
from router.journey import Journey
from router.learning import Calibration
from router.policy import Choice, World, choose, with_front
from router.predictor import Predictor
from router.refusal import refusal
from router.session import Sessions, conversation_of
from router.verify import Verifier, as_asked, judge, with_evidence
from services.bus.roster import Roster
from services.contracts.beat import Beat
from services.contracts.decision import Attempt
from services.contracts.draw import draw
from services.contracts.errors import (
    ComponentTimeout,
    ContextLengthExceeded,
    InternalError,
    TurnoutError,
    Unreached,
    Unsupported,
    UpstreamError,
    from_info,
)
from services.contracts.events import Event, Finished, Found, Passage, ScreenRead, Step, Usage
from services.contracts.feedback import Feedback
from services.contracts.messages import ChatRequest, Image, ReadRequest, SearchRequest

log = structlog.get_logger()

Next = Literal["choose", "prepare", "verify", "end"]
CHOOSE: Final = "choose"
PREPARE: Final = "prepare"
VERIFY: Final = "verify"
END: Final = "end"
TRIED_FIRST = "a cheaper answer proved good enough"
_VERDICT_WEIGHT = 0.25
"""Of what the verifier thinks, beside the word of a client."""
_PASSAGES = 4
_LEAST_RELEVANCE = 0.5
_SHOWN_CHARS = 2000
# These concern what the component is, not which of its instances was asked: its twins would say the same.
_COMPONENT_WIDE = (Unsupported, ContextLengthExceeded, UpstreamError)


class Router:
    """Builds the graph once; `route` runs it for one task.

    `tell` hears of a journey that has come to its end at once: the runtime takes a while to wind a run up.
    """

    def __init__(
        self,
        roster: Roster,
        dispatcher: Dispatcher,
        predictor: Predictor,
        coming: Coming,
        calibration: Calibration,
        sessions: Sessions,
        tell: Callable[[Journey], Awaitable[None]],
    ) -> None:
        self._tell = tell
        self._coming = coming
        self._calibration = calibration
        self._sessions = sessions
        self._roster = roster
        self._dispatcher = dispatcher
        self._predictor = predictor
        self._graph = self._build()

    def use(self, predictor: Predictor) -> None:
        """Ask this predictor from the next task on."""
        self._predictor = predictor

    async def route(self, journey: Journey) -> None:
        """Take one task to an instance that has begun to answer, or to the error that says why none did."""
        # An attempt takes two steps of the graph at most.
        limit = 2 * journey.settings.max_attempts + 6
        # The journey carries the outcome; collecting the state after each step would be work for nobody.
        await self._graph.ainvoke(journey, {"recursion_limit": limit}, stream_mode="updates", output_keys=[])

    def _build(self) -> Pregel[Any, Any, Any, Any]:
        return Pregel(
            nodes={
                CHOOSE: self._node(CHOOSE, self._choose, goes_to=(CHOOSE, PREPARE, VERIFY)),
                PREPARE: self._node(PREPARE, self._prepare, goes_to=(CHOOSE,)),
                VERIFY: self._node(VERIFY, self._verify, goes_to=(CHOOSE,)),
            },
            channels={name: EphemeralValue(Journey) for name in (CHOOSE, PREPARE, VERIFY, END)},
            input_channels=CHOOSE,
            output_channels=END,
        )

    def _node(self, name: Next, work: Callable[[Journey], Awaitable[Next]], goes_to: tuple[Next, ...]) -> NodeBuilder:
        """A node that wakes on the channel of its name, and wakes the node that `work` names."""

        async def run(journey: Journey) -> dict[Next, Journey]:
            following = await work(journey)
            if following == END:
                await self._tell(journey)
            return {following: journey}

        ways = (ChannelWriteEntry(other, skip_none=True, mapper=methodcaller("get", other)) for other in goes_to)
        return NodeBuilder().subscribe_only(name).do(run).write_to(*ways)

    async def _understand(self, journey: Journey) -> None:
        """What is asked, how well each kind of component would do, and whether the documents know something of it."""
        request = journey.task.request
        if isinstance(request, ChatRequest) and journey.wanted.pinned is None:
            began_s = time.perf_counter()
            journey.features = features_of(request)
            journey.estimates = self._predictor.predict(journey.features)
            journey.output_tokens = self._predictor.expected_output_tokens(journey.features)
            journey.prediction = self._predictor.version
            journey.decision_s += time.perf_counter() - began_s
            if journey.task.depth == 0 and not request.images and not request.tools:
                await self._consult(journey, request)

    async def _consult(self, journey: Journey, request: ChatRequest) -> None:
        """Look the question up in the documents, where there are any: evidence beats a guess from its words."""
        searchers = [b for b in self._roster.ready() if "search" in b.capabilities and b.facts.get("documents", 0) > 0]
        searchers = [b for b in searchers if b.local or not journey.needs.local_only]
        question = request.question.strip()
        if not searchers or not question:
            return
        began_s = time.time()
        searcher = min(searchers, key=lambda beat: beat.in_use)
        try:
            events = await self._dispatcher.fetch(journey.task, 0, SearchRequest(question, _PASSAGES), searcher)
        except TurnoutError as error:
            log.warning("consult_failed", request=journey.task.root, error=error.message)
            return
        journey.spent += _usage(events)
        found = tuple(p for e in events if isinstance(e, Found) for p in e.passages if p.relevance >= _LEAST_RELEVANCE)
        journey.passages = found
        journey.relevance = max((passage.relevance for passage in found), default=0.0)
        if found:
            journey.steps.append(_search_step(searcher, question, found, began_s))

    async def _choose(self, journey: Journey) -> Next:
        if not journey.attempts:
            await self._understand(journey)
        elif len(journey.attempts) >= journey.settings.max_attempts + (journey.cascade is not None):
            journey.error = journey.verdict()
            return END
        began_s = time.perf_counter()
        choice = self._choice(journey)
        if journey.unreached and not choice.order:
            journey.decision_s += time.perf_counter() - began_s
            await self._coming.speaks(journey.take_unreached(), journey.task.deadline_s)
            began_s = time.perf_counter()
            choice = self._choice(journey)
        awaited = self._awaited(journey, choice)
        if awaited is not None:
            journey.decision_s += time.perf_counter() - began_s
            may_sleep = awaited in journey.settings.sleepers
            await self._coming.arrive(awaited, journey.task.deadline_s, may_sleep=may_sleep)
            began_s = time.perf_counter()
            journey.held.add(awaited)
            choice = self._choice(journey)
        if not journey.candidates:
            choice = self._explored(journey, choice)
            journey.candidates = choice.candidates
            if journey.settings.cascade and self._may_cascade(journey):
                journey.cascade = cascade(choice, journey.wanted_now(), self._verifiers(journey))
                if journey.cascade is not None:
                    journey.decision_s += time.perf_counter() - began_s
                    return VERIFY
        journey.degraded = choice.degraded or journey.degraded
        if choice.order and not (choice.degraded and journey.task.wishes.strict):
            journey.running = choice.order[0]
        else:
            journey.error = journey.verdict() or refusal(journey, choice, self._roster.all())
        journey.decision_s += time.perf_counter() - began_s
        if journey.running is None:
            return END
        return PREPARE if len(journey.running.instances) > 1 else await self._run(journey)

    def _explored(self, journey: Journey, choice: Choice) -> Choice:
        """Let chance have its share in a client's own request that leaves the choice to us."""
        share, task = journey.settings.explore, journey.task
        if not share or task.depth or task.wishes.strict or not journey.estimates:
            return choice
        choice = explored(choice, journey.wanted_now(), share, draw(task.id, "explore"))
        journey.propensities, journey.explored = choice.propensities, choice.explored
        return choice

    def _verifiers(self, journey: Journey) -> dict[str, Verifier]:
        known, profiles = self._predictor.verifiers, journey.settings.profiles
        return {component: known[profile.name] for component, profile in profiles.items() if profile.name in known}

    @staticmethod
    def _may_cascade(journey: Journey) -> bool:
        """Only who has asked for a quality may have to wait for it, and only a whole text can be judged."""
        request = journey.task.request
        return (
            journey.task.wishes.quality is not None
            and journey.task.depth == 0
            and not journey.explored
            and isinstance(request, ChatRequest)
            and not request.tools
            and not request.written
            and not journey.needs.images
        )

    def _choice(self, journey: Journey) -> Choice:
        ready = self._roster.ready()
        for beat in ready:
            journey.forgive(beat)
        taking = serving(ready, draw(journey.task.root, "generation"), journey.excluded)
        asleep = self._coming.asleep(taking, journey.settings.sleepers - journey.held)
        world = World(
            beats=[beat for beat in (*taking, *asleep) if beat.component in journey.settings.profiles],
            profiles=journey.settings.profiles,
            pending=self._dispatcher.pending(),
            relevance=journey.relevance,
            excluded=frozenset(journey.excluded),
            offsets=self._calibration.offsets(),
            held=self._sessions.held(journey.task),
            conversation=partial(conversation_of, journey.task),
        )
        return choose(journey.needs, journey.wanted_now(), world, journey.estimates, journey.output_tokens)

    def _awaited(self, journey: Journey, choice: Choice) -> str | None:
        """The component to wait for before anything can be done: asleep, or exchanged at this very moment."""
        if choice.order:
            sleeping = [beat.component for beat in choice.order[0].instances if beat.state == "asleep"]
            return sleeping[0] if sleeping else None
        pinned = journey.wanted.pinned
        if pinned is None or pinned in journey.held or choice.candidates:
            return None
        if any(beat.instance in journey.excluded for beat in self._roster.ready(pinned)):
            return None  # it serves, and has said no
        known = pinned in journey.settings.profiles
        return pinned if known and self._coming.expected(pinned, journey.settings.sleepers) else None

    async def _verify(self, journey: Journey) -> Next:
        """Let the cheaper component try, and give its answer to the client if it is good enough; else go up."""
        trying, request = journey.cascade, journey.task.request
        if trying is None or not isinstance(request, ChatRequest):
            raise InternalError("there is nothing to verify")
        plan, began_s = trying.attempt, time.time()
        # Whatever happens, the one that is expected to be good enough must still have its time.
        limited = msgspec.structs.replace(journey.task, deadline_s=journey.task.deadline_s - trying.reserved_s)
        done = await self._dispatcher.attempt(limited, "try", with_evidence(request), plan.answering)
        if done.error is not None:
            self._note_failure(journey, plan.answering, done.error, began_s, done.spent)
            if isinstance(done.error, ComponentTimeout):
                journey.error = None  # it was our limit, and there is time left
            return END if journey.error is not None else CHOOSE
        verdict = judge(request, done.events, plan.quality, trying.verifier)
        beat = plan.answering
        await self._dispatcher.report(
            Feedback(
                journey.task.root,
                verdict.score,
                plan.steps,
                beat.model,
                time.time(),
                prior=plan.prior,
                source="verified",
                weight=_VERDICT_WEIGHT,
            )
        )
        accepted = verdict.why is None and verdict.score >= journey.wanted.quality_floor
        journey.attempts.append(
            Attempt(
                plan.answering.component,
                plan.answering.instance,
                began_s,
                time.time(),
                usage=Usage() if accepted else done.spent,
                verified=round(verdict.score, 4),
                rejected="" if accepted else verdict.why or "below the floor",
            )
        )
        if not accepted:
            journey.spent += done.spent
            return CHOOSE
        journey.running, journey.degraded = plan, None
        journey.candidates = with_front(journey.candidates, plan, TRIED_FIRST)
        self._sessions.remember(journey.task, plan.answering)
        await self._dispatcher.deliver(journey.task, as_asked(request, done.events))
        return END

    async def _prepare(self, journey: Journey) -> Next:
        """Let the helpers of the chosen plan do their part: read the images, or hand over the passages."""
        plan, request = journey.running, journey.task.request
        if plan is None or not isinstance(request, ChatRequest):
            raise InternalError("a plan with helpers needs a chat request")
        helper = plan.instances[0]
        if journey.needs.images:
            began_s = time.time()
            try:
                screens = [await self._read(journey, n, image, helper) for n, image in enumerate(request.images, 1)]
            except TurnoutError as error:
                self._note_failure(journey, helper, error, began_s, Usage())
                return END if journey.error is not None else CHOOSE
            request = with_screen_text(request, screens)
        else:
            request = with_passages(request, journey.passages)
            journey.sources = journey.passages
        journey.prepared = msgspec.structs.replace(journey.task, request=request)
        return await self._run(journey)

    async def _read(self, journey: Journey, number: int, image: Image, reader: Beat) -> ScreenRead:
        if (known := journey.screens.get(number)) is not None:
            return known
        began_s = time.time()
        events = await self._dispatcher.fetch(journey.task, number, ReadRequest(image), reader)
        journey.spent += _usage(events)
        screen = next((event for event in events if isinstance(event, ScreenRead)), None)
        if screen is None:
            raise UpstreamError(f"{reader.component} sent no reading")
        journey.screens[number] = screen
        lines = "\n".join(line.text for line in screen.lines)
        journey.steps.append(
            Step(
                name="read",
                input=f"image {number}: {image.width_px}x{image.height_px} {image.mime}",
                output=lines[:_SHOWN_CHARS],
                duration_ms=round((time.time() - began_s) * 1000, 1),
                component=reader.component,
            )
        )
        return screen

    async def _run(self, journey: Journey) -> Next:
        """Hand the task to the instance that is to answer, and wait until it has begun."""
        plan = journey.running
        if plan is None:
            raise InternalError("nothing was chosen")
        began_s = time.time()
        task = journey.prepared or journey.task
        if journey.attempts:
            # One that was taken for dead may come back and answer late: its answer must not mix with this one.
            task = msgspec.structs.replace(task, id=f"{task.id}-a{len(journey.attempts)}")
        journey.handed = task.id
        ack = await self._dispatcher.hand_over(task, plan.answering)
        if ack.error is not None:
            self._note_failure(journey, plan.answering, from_info(ack.error), began_s, ack.usage)
            return END if journey.error is not None else CHOOSE
        journey.attempts.append(Attempt(plan.answering.component, plan.answering.instance, began_s, time.time()))
        if journey.prepared is None:  # else it has read something else than what the client will send again
            self._sessions.remember(journey.task, plan.answering)
        return END

    def _note_failure(self, journey: Journey, beat: Beat, error: TurnoutError, began_s: float, spent: Usage) -> None:
        log.info("attempt_failed", request=journey.task.root, instance=beat.instance, error=error.message)
        journey.failed(beat, error, began_s, spent)
        journey.excluded[beat.instance] = beat
        if isinstance(error, Unreached):
            journey.unreached.append(beat)
        if isinstance(error, _COMPONENT_WIDE):
            journey.excluded.update({b.instance: b for b in self._roster.all() if b.component == beat.component})
        if not error.retryable:
            journey.error = error


def _usage(events: tuple[Event, ...]) -> Usage:
    """What a helper's answer took."""
    return sum((event.usage for event in events if isinstance(event, Finished)), Usage())


def _search_step(searcher: Beat, question: str, found: tuple[Passage, ...], began_s: float) -> Step:
    return Step(
        name="search",
        input=question[:_SHOWN_CHARS],
        output="\n".join(f"{p.source} ({p.relevance:.2f})" for p in found)[:_SHOWN_CHARS],
        duration_ms=round((time.time() - began_s) * 1000, 1),
        component=searcher.component,
    )
