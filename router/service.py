"""The router's process: takes tasks from the bus, runs the graph for each, answers with the decision."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from router.coming import Coming
from router.dispatch import Dispatcher
from router.graph import Router
from router.journey import Journey, Settings
from router.learning import Calibration
from router.needs import needs_of
from router.policy import Profile, Wanted
from router.predictor import Predictor
from router.session import Sessions
from services.bus.call import ROUTER
from services.bus.port import Bus, Incoming, Subscription
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat, State, Totals
from services.contracts.catalog import AUTO, Snapshot
from services.contracts.decision import Decision, Routed
from services.contracts.errors import Cancelled, ConfigError, InternalError, InvalidRequest, Overloaded, TurnoutError
from services.contracts.feedback import FEEDBACK_DECODER
from services.contracts.messages import Task, decode_task, encode
from services.worker import tracing
from services.worker.announcer import Announcer
from services.worker.runtime import descends

log = structlog.get_logger()

_RECOLLECT_S = 5.0


class RouterService:
    """One router replica. Replicas share the work through a queue group and share no state."""

    def __init__(self, bus: Bus, snapshot: Snapshot, *, instance: str, generation: int = 1) -> None:
        self._bus = bus
        self._snapshot = snapshot
        self._settings = settings_of(snapshot)
        self._instance = instance
        self._generation = generation
        self._roster = Roster(bus)
        self._predictor = Predictor.load(_predictor_path(snapshot))
        self._calibration = Calibration(snapshot.catalog.router.feedback_half_life_s, time.time)
        self._router = Router(
            self._roster,
            Dispatcher(bus, self._roster),
            self._predictor,
            Coming(bus, self._roster),
            self._calibration,
            Sessions(time.monotonic),
            self._tell,
        )
        self._state: State = "starting"
        self._totals = Totals()
        self._started_s = time.time()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._subscriptions: list[Subscription] = []
        self._announcer = Announcer(bus, self.beat)

    async def start(self, listen_s: float = 0.0) -> None:
        """Learn who lives, for up to `listen_s`, then take tasks."""
        await self._announcer.start()
        await self._roster.start()
        await self._recollect()
        await self._hear_from_all(listen_s)
        self._subscriptions.append(await self._bus.subscribe(subjects.CANCELS, self._on_cancel))
        self._subscriptions.append(await self._bus.subscribe(subjects.ROUTE, self._on_task, queue=subjects.ROUTE_QUEUE))
        await self._bus.flush()
        self._state = "ready"
        await self._announcer.announce()

    async def _hear_from_all(self, most_s: float) -> None:
        """Wait until every component that should run has spoken.

        Other routers know them all; a task that came here first would be refused for want of what is there.
        """
        wanted = {n for n, spec in self._snapshot.catalog.components.items() if spec.enabled and spec.replicas.min}
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while wanted - {beat.component for beat in self._roster.all()}:
                    await self._roster.changed()

    async def _recollect(self) -> None:
        """Hear feedback from now on, and take up what was said before this replica lived."""
        self._subscriptions.append(await self._bus.subscribe(subjects.FEEDBACK, self._on_feedback))
        try:
            async with asyncio.timeout(_RECOLLECT_S):
                async for data in self._bus.replay(subjects.FEEDBACK):
                    self._learn(data)
        except (TurnoutError, TimeoutError) as error:
            log.warning("feedback_not_recollected", error=str(error))

    async def _on_feedback(self, message: Incoming) -> None:
        self._learn(message.data)

    def _learn(self, data: bytes) -> None:
        try:
            self._calibration.learn(FEEDBACK_DECODER.decode(data))
        except msgspec.DecodeError as error:
            log.warning("bad_feedback", error=str(error))

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, let what is being routed find its way, leave."""
        self._state = "draining"
        for subscription in self._subscriptions:
            await subscription.stop()
        await self._announcer.announce()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=grace_s)
        for running in tuple(self._running.values()):
            running.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._roster.stop()
        await self._announcer.farewell()

    async def use(self, snapshot: Snapshot) -> None:
        """Route by this revision from the next task on. A predictor that cannot be read leaves the old one in place."""
        named = (self._snapshot.catalog.router.predictor, snapshot.catalog.router.predictor)
        if named != (None, None):
            try:
                self._predictor = await asyncio.to_thread(Predictor.load, _predictor_path(snapshot))
                self._router.use(self._predictor)
                log.info("predictor_in_force", version=self._predictor.version)
            except ConfigError as error:
                log.warning("predictor_not_changed", reason=error.message)
        self._snapshot = snapshot
        self._settings = settings_of(snapshot)
        self._calibration.half_life_s = snapshot.catalog.router.feedback_half_life_s

    @property
    def revision(self) -> int:
        """The catalog revision in use."""
        return self._snapshot.revision

    def beat(self) -> Beat:
        """This replica as others see it."""
        return Beat(
            component=ROUTER,
            kind=ROUTER,
            instance=self._instance,
            generation=self._generation,
            pid=os.getpid(),
            host=socket.gethostname(),
            state=self._state,
            model=f"predictor {self._predictor.version}",
            slots=self._snapshot.catalog.router.slots,
            in_use=len(self._running),
            totals=self._totals,
            facts={"catalog_revision": float(self._snapshot.revision)},
            started_s=self._started_s,
        )

    async def _on_task(self, message: Incoming) -> None:
        try:
            task = decode_task(message.data)
        except msgspec.DecodeError as error:
            log.warning("bad_task", error=str(error))
            nobody = Decision("", time.time(), "", self.revision)
            await self._bus.publish(message.reply, encode(Routed(nobody, InvalidRequest("not a task").to_info())))
            return
        running = asyncio.create_task(self._route(task, message.reply))
        self._running[task.id] = running
        running.add_done_callback(lambda _: self._running.pop(task.id, None))

    async def _on_cancel(self, message: Incoming) -> None:
        cancelled = message.data.decode("ascii", "replace")
        for task_id, running in tuple(self._running.items()):
            if descends(task_id, cancelled):
                running.cancel()

    async def _route(self, task: Task, reply: str) -> None:
        with tracing.task_span("route", task) as (span, traced):
            journey = self._begin(traced, reply)
            await self._travel(journey)
            if journey.error is not None:
                tracing.note_error(span, journey.error)
            elif journey.running is not None:
                span.set_attribute("turnout.component", journey.running.answering.component)

    async def _travel(self, journey: Journey) -> None:
        try:
            if len(self._running) > self._snapshot.catalog.router.slots:
                raise Overloaded("the router is full", retry_after_s=1.0)
            await self._router.route(journey)
        except asyncio.CancelledError:
            journey.error = Cancelled("cancelled")
        except TurnoutError as error:
            journey.error = error
        except Exception:  # the boundary: one bad task must not take the router down
            root = journey.task.root
            log.exception("routing_failed", request=root)
            journey.error = InternalError(f"routing failed; the router's log has the details under request {root}")
        await self._tell(journey)

    async def _tell(self, journey: Journey) -> None:
        """Answer the asker, once."""
        if journey.told:
            return
        journey.told = True
        error_info = journey.error.to_info() if journey.error else None
        self._totals = Totals(self._totals.requests + 1, self._totals.errors + (error_info is not None))
        routed = Routed(journey.decision(), error_info, journey.sources, journey.handed)
        await self._bus.publish(journey.reply, encode(routed))

    def _begin(self, task: Task, reply: str) -> Journey:
        floor = task.wishes.quality
        wanted = Wanted(
            quality_floor=self._settings.quality_floor if floor is None else floor,
            max_cost_usd=task.wishes.max_cost_usd,
            deadline_in_s=task.deadline_s - time.time(),
            pinned=None if task.model == AUTO else task.model,
            depth=task.depth,
        )
        return Journey(task, reply, self._settings, needs_of(task), wanted)


def settings_of(snapshot: Snapshot) -> Settings:
    """The routing half of a catalog."""
    profiles: dict[str, Profile] = {}
    for name, spec in snapshot.catalog.components.items():
        learned = getattr(spec, "tier", None) or spec.kind
        profiles[name] = Profile(learned, spec.quality)
    rules = snapshot.catalog.router
    sleepers = frozenset(n for n, spec in snapshot.catalog.components.items() if spec.enabled and not spec.replicas.min)
    return Settings(
        snapshot.revision, profiles, rules.quality, rules.max_attempts, sleepers, rules.explore, rules.cascade == "auto"
    )


def _predictor_path(snapshot: Snapshot) -> Path | None:
    named = snapshot.catalog.router.predictor
    return None if named is None else Path(snapshot.base_dir, named)
