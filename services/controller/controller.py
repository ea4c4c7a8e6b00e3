"""The one owner of what runs: takes orders one after the other, carries each out whole or not at all.

Saving the file, `turnout apply`, `PUT /admin/catalog`, a roll-back, the autoscaler and the verdict of a trial all end
up in the same queue.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import msgspec
import structlog

from services.bus.port import Incoming
from services.contracts import subjects
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.catalog_file import text_of
from services.contracts.control import (
    COMMAND_DECODER,
    Apply,
    Command,
    Done,
    Happening,
    Rollback,
    ScaleTo,
    Wake,
)
from services.contracts.errors import ConfigError, Conflict, InternalError, InvalidRequest, NotFound, TurnoutError
from services.contracts.keeper import Instance
from services.contracts.messages import encode
from services.controller.autoscale import Watched, step
from services.controller.changes import changes
from services.controller.check import problems
from services.controller.counts import Counts
from services.controller.journal import Journal
from services.controller.judge import Judgement
from services.controller.lasting import store
from services.controller.ordered import Look, ordered
from services.controller.reconciler import Plan, Wanted, fingerprint, plan, wanted
from services.controller.rollout import Parts, Rollout
from services.controller.shadowing import hear
from services.controller.silence import Silence
from services.controller.trial import Trial
from services.controller.watch import digest_of
from services.worker.background import Background

log = structlog.get_logger()

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class _Conclude:
    """The controller's order to itself: a trial has come to its end."""

    trial: Trial
    judgement: Judgement


@dataclass(eq=False)
class _Waiting:
    """An order in the queue, and who waits for its end."""

    command: Command | _Conclude
    done: asyncio.Future[Done]
    arrived_s: float = field(default_factory=time.monotonic)


class Controller:
    """Carries out orders. `submit` may be called by anyone on the loop; `run` is the one who acts."""

    def __init__(self, parts: Parts, snapshot: Snapshot, look: Look = problems) -> None:
        """Args: `look` finds what is wrong with a catalog beyond its form, on this machine."""
        self._parts = parts
        self._look = look
        self._snapshot = snapshot
        self._file_sha256 = snapshot.file_sha256
        self._next: Snapshot | None = None
        self._trial: Trial | None = None
        self._counts = Counts(parts.bus)
        self._ended: frozenset[str] = frozenset()  # of trials, still finishing what they do
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._newest_apply: Apply | None = None
        self._journal = Journal(parts.bus)
        self._background = Background()

    @property
    def snapshot(self) -> Snapshot:
        """What is in force."""
        return self._snapshot

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """What should run."""
        return wanted(self._snapshot, self._counts.chosen)

    def catalog_for(self, instance: Instance) -> Catalog:
        """The catalog that an instance is built from."""
        if not instance.standby:
            return self._snapshot.catalog
        coming = self._next or (self._trial.following if self._trial is not None else self._snapshot)
        return coming.catalog

    async def saved(self, data: bytes, name: str) -> Done:
        """The configuration file was saved: apply it. Whatever becomes of it, it counts as read from then on."""
        self._file_sha256 = digest_of(data)
        try:
            text = text_of(data, name)
        except ConfigError as error:
            self.happened("refused", error.message)
            return Done(self._snapshot.revision, error=error.to_info())
        return await self.submit(Apply(text, name))

    def submit(self, command: Command | _Conclude) -> asyncio.Future[Done]:
        """Queue an order; the future tells how it went, and never raises."""
        waiting = _Waiting(command, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        if isinstance(command, Apply):
            self._newest_apply = command
        return waiting.done

    async def begin(self, *, inherit: bool) -> None:
        """Look what an earlier controller has left. `inherit`: whether its numbers of instances still count."""
        await self._counts.begin(inherit=inherit)
        self.happened("begun", f"the controller has begun, with revision {self._snapshot.revision} in force")

    async def listen(self) -> None:
        """Take orders from the bus, too."""
        await self._parts.bus.subscribe(subjects.CONTROLLER, self._on_command)

    async def run(self) -> None:
        """Carry out orders, for ever."""
        while True:
            waiting = await self._queue.get()
            if isinstance(waiting.command, Apply) and waiting.command is not self._newest_apply:
                done = Done(self._snapshot.revision, error=Conflict("a later apply has taken its place").to_info())
            else:
                done = await self._carry_out(waiting)
            if not waiting.done.done():
                waiting.done.set_result(done)

    async def autoscale(self) -> None:
        """Look at every component that has room between its bounds, for ever."""
        watched: dict[str, Watched] = {}
        while True:
            await asyncio.sleep(_LOOK_S)
            for name, spec in self._snapshot.catalog.components.items():
                if not spec.enabled or spec.replicas.min == spec.replicas.max:
                    continue
                present = self._present(name)
                before = replace(watched.get(name, Watched(present)), wanted=present)
                beats = [beat for beat in self._parts.roster.ready(name) if beat.instance not in self._tried]
                after = watched[name] = step(before, beats, spec.replicas, time.monotonic())
                asleep_on_trial = after.wanted == 0 and self._trial is not None and self._trial.on_trial(name)
                if after.wanted != present and beats and not asleep_on_trial:
                    done = await self.submit(ScaleTo(name, after.wanted))
                    if done.error is not None:
                        watched.pop(name)  # look anew before asking again

    async def heal(self, look_s: float = _LOOK_S) -> None:
        """End processes that live and say nothing, so that they are started again; for ever."""
        silence, heard_for_s = Silence(), 0.0
        while True:
            await asyncio.sleep(look_s)
            if self._parts.bus.unsettled:
                continue  # nobody can be heard
            heard_for_s += look_s
            heard = {beat.instance for beat in self._parts.roster.all()}
            for name in silence.look(self._parts.supervisor.lives, heard, heard_for_s):
                self.happened("silent", f"{name} lives, but has long said nothing, and is killed")
                self._parts.supervisor.kill_one(name)

    async def stop(self) -> None:
        """Leave what is still finishing to the supervisor."""
        await self._background.stop()
        await self._journal.stop()

    def happened(self, what: str, text: str, instance: Instance | None = None) -> None:
        """Note an event and tell whoever listens."""
        self._journal.note(
            Happening(
                time.time(),
                what,
                f"{instance.name} {text}" if instance else text,
                instance.component if instance else "",
                instance.name if instance else "",
                instance.generation if instance else 0,
                self._snapshot.revision,
            )
        )

    async def _on_command(self, message: Incoming) -> None:
        try:
            command = COMMAND_DECODER.decode(message.data)
        except msgspec.DecodeError:
            await self._answer(message.reply, Done(error=InvalidRequest("the order is not readable").to_info()))
            return
        done = self.submit(command)
        if message.reply:
            self._background.start(self._answer_when(message.reply, done))

    async def _answer_when(self, reply: str, done: asyncio.Future[Done]) -> None:
        await self._answer(reply, await done)

    async def _answer(self, reply: str, done: Done) -> None:
        if reply:
            await self._parts.bus.publish(reply, encode(done))

    async def _carry_out(self, waiting: _Waiting) -> Done:
        command = waiting.command
        try:
            if isinstance(command, ScaleTo | Wake):
                return await self._scale(command)
            if isinstance(command, _Conclude):
                return await self._conclude(command, waiting.arrived_s)
            if self._trial is not None and isinstance(command, Rollback) and command.revision is None:
                lines = self._trial.lines
                self._end_trial("as ordered")
                return Done(self._snapshot.revision, tuple(f"not any more: {line}" for line in lines))
            if not isinstance(command, Apply | Rollback):
                raise InvalidRequest("not an order for the controller")
            catalog = await ordered(command, self._snapshot, self._parts.bus, self._look)
            return await self._apply(catalog, waiting.arrived_s)
        except TurnoutError as error:
            self.happened("refused", error.message)
            return Done(self._snapshot.revision, error=error.to_info())
        except Exception:  # the boundary: an order that goes wrong must not be the last one
            log.exception("order_failed")
            failure = InternalError("the controller failed; its log has the details")
            self.happened("refused", failure.message)
            return Done(self._snapshot.revision, error=failure.to_info())

    async def _apply(self, catalog: Catalog, arrived_s: float) -> Done:
        old = self._snapshot
        lines = changes(old.catalog, catalog)
        if self._trial is not None:
            if not changes(self._trial.following.catalog, catalog):
                return Done(old.revision, trial=self._trial.text)
            self._end_trial("a later order has taken its place")
        if not lines:
            return Done(old.revision)
        bounded = self._counts.within(catalog)
        following = Snapshot(base_dir=old.base_dir, catalog=catalog)
        steps = self._steps(following, bounded)
        replaced = {instance.component for instance in steps.stop}
        rules = {
            i.component: canary
            for i in steps.start
            if (canary := catalog.components[i.component].swap.canary) is not None and i.component in replaced
        }
        self.happened("applying", "; ".join(lines))
        async with self._bringing_up(steps, following) as (rollout, load_s):
            trial = Trial(rollout, following, rules, lines)
            if rules:
                listening = await hear(self._parts.bus, trial, rules)
                await rollout.try_out({name: canary.share for name, canary in rules.items() if not canary.shadow})
            else:
                await rollout.switch()
                await self._commit(following)
        took_s = time.monotonic() - arrived_s
        if rules:
            self._trial = trial
            self.happened("trial", trial.text)
            self._background.start(self._watch(trial, listening))
            return Done(old.revision, lines, took_s, load_s, trial.text)
        await self._note_counts(bounded)
        self.happened("applied", f"revision {self._snapshot.revision} is in force")
        self._background.start(rollout.finish())
        return Done(self._snapshot.revision, lines, took_s, load_s)

    @asynccontextmanager
    async def _bringing_up(self, steps: Plan, following: Snapshot) -> AsyncIterator[tuple[Rollout, float]]:
        """Bring up what is new, built from `following`: loaded and proven, it is the block's to let it serve.

        Gives the rollout and the time it took to load, seconds. Where the block fails, what is new ends.
        """
        rollout = Rollout(self._parts, steps, self._snapshot.catalog, following.catalog)
        began_s = time.monotonic()
        self._next = following
        try:
            # This is where instances on stand-by read what they are built from.
            data = following.model_dump_json().encode()
            await self._parts.bus.kv_put(subjects.STANDBY_BUCKET, subjects.CATALOG_KEY, data)
            await rollout.prepare()
            try:
                yield rollout, time.monotonic() - began_s
            except BaseException:
                await rollout.undo_at_once()
                raise
        finally:
            self._next = None

    async def _commit(self, snapshot: Snapshot) -> None:
        """Put a catalog into force. This is the one moment that counts for a controller that comes after this one.

        Raises:
            TurnoutError: it cannot be stored, although the bus was given the time to come back.
        """
        snapshot = snapshot.model_copy(update={"file_sha256": self._file_sha256})
        data = snapshot.model_dump_json().encode()
        revision = await store(self._parts.bus, subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, data)
        self._snapshot = snapshot.model_copy(update={"revision": revision})
        with suppress(TurnoutError):  # they also look by themselves, every two seconds
            await self._parts.bus.publish(subjects.CATALOG_CHANGED, str(revision).encode())

    async def _note_counts(self, chosen: Mapping[str, int]) -> None:
        """Keep the numbers that go with a catalog that is in force already: a successor fits old ones to its bounds."""
        try:
            await self._counts.keep(chosen)
        except TurnoutError as error:
            self._counts.chosen = chosen
            log.warning("counts_not_kept", reason=error.message)

    async def _watch(self, trial: Trial, listening: AsyncExitStack) -> None:
        """Look at the evidence of a trial until it suffices, then order its end."""
        async with listening:
            while self._trial is trial:
                await asyncio.sleep(_LOOK_S)
                died = next((i for i in trial.rollout.starting if self._parts.supervisor.endings(i.name)), None)
                judgement = trial.judgement(died, time.monotonic())
                if judgement.verdict != "go on":
                    await self.submit(_Conclude(trial, judgement))
                    return

    async def _conclude(self, order: _Conclude, arrived_s: float) -> Done:
        """Put what was tried into force, or end it."""
        trial, judgement = order.trial, order.judgement
        if self._trial is not trial:
            return Done(self._snapshot.revision)  # it was ended meanwhile
        if judgement.verdict != "promote":
            self._end_trial(judgement.why)
            return Done(self._snapshot.revision)
        try:
            await trial.rollout.switch()
            await self._commit(trial.following)
        except TurnoutError as error:
            self._end_trial(error.message)
            raise
        self._trial = None
        enabled = {name: spec for name, spec in trial.following.catalog.components.items() if spec.enabled}
        prints = {name: fingerprint(spec) for name, spec in enabled.items()}
        fit = Counter(i.component for i in self._parts.supervisor.running if prints.get(i.component) == i.fingerprint)
        await self._note_counts({name: fit[name] for name in enabled})
        self.happened("promoted", f"revision {self._snapshot.revision} is in force: {judgement.why}")
        leaving = self._steps(self._snapshot, self._counts.chosen).stop
        self._background.start(trial.rollout.finish(leaving))
        return Done(self._snapshot.revision, trial.lines, time.monotonic() - arrived_s)

    def _end_trial(self, why: str) -> None:
        """What is tried takes nothing more and leaves; the old generation has never stopped."""
        if self._trial is None:
            return
        trial, self._trial = self._trial, None
        self._ended |= trial.names
        self.happened("rolled_back", why)
        self._background.start(self._undo(trial))

    async def _undo(self, trial: Trial) -> None:
        await trial.rollout.undo()
        self._ended -= trial.names

    @property
    def _tried(self) -> frozenset[str]:
        """Names of the instances that are not, or not yet, those of the catalog in force."""
        return self._ended | (self._trial.names if self._trial is not None else frozenset())

    def _present(self, component: str) -> int:
        """How many instances of a component run, those on trial aside."""
        return sum(i.component == component and i.name not in self._tried for i in self._parts.supervisor.running)

    def _steps(self, snapshot: Snapshot, chosen: Mapping[str, int]) -> Plan:
        """From what runs to what a catalog asks for, those on trial aside."""
        running = [i for i in self._parts.supervisor.running if i.name not in self._tried]
        return plan(wanted(snapshot, chosen), running, (*self._parts.supervisor.leaving, *self._tried))

    async def _scale(self, command: ScaleTo | Wake) -> Done:
        spec = self._snapshot.catalog.components.get(command.component)
        if spec is None or not spec.enabled:
            raise NotFound(f"there is no component {command.component!r} to scale")
        present = self._present(command.component)
        count = command.count if isinstance(command, ScaleTo) else max(1, present)
        if not spec.replicas.min <= count <= spec.replicas.max:
            bounds = f"{spec.replicas.min} to {spec.replicas.max}"
            raise InvalidRequest(f"{command.component} runs {bounds} instances (replicas): change the catalog first")
        if count == present:
            return Done(self._snapshot.revision)
        chosen = {**self._counts.chosen, command.component: count}
        steps = self._steps(self._snapshot, chosen)
        mine = Plan(
            tuple(i for i in steps.start if i.component == command.component),
            tuple(i for i in steps.stop if i.component == command.component),
        )
        line = f"~ {command.component}: {present} -> {count} instances"
        self.happened("scaling", line)
        began_s = time.monotonic()
        async with self._bringing_up(mine, self._snapshot) as (rollout, load_s):
            await rollout.switch()
            await self._counts.keep(chosen)
        self._background.start(rollout.finish())
        return Done(self._snapshot.revision, (line,), time.monotonic() - began_s, load_s)
