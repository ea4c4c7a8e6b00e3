"""The one owner of what runs: takes orders one after the other, carries each out whole or not at all.

Saving the file, `turnout apply`, `PUT /admin/catalog`, a roll-back and the autoscaler all end up in the same queue.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from pydantic import ValidationError

from services.bus.port import Incoming
from services.contracts import subjects
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.catalog_file import parse
from services.contracts.control import (
    COMMAND_DECODER,
    Apply,
    Command,
    Done,
    Happening,
    Report,
    Rollback,
    ScaleTo,
    Wake,
)
from services.contracts.errors import ConfigError, Conflict, InvalidRequest, NotFound, TurnoutError
from services.contracts.messages import encode
from services.controller.autoscale import Watched, step
from services.controller.changes import changes
from services.controller.check import problems
from services.controller.positions import line_in
from services.controller.reconciler import Instance, Plan, plan, wanted
from services.controller.rollout import Parts, Rollout

_EVENTS_KEPT = 1000
_LOOK_S = 0.5


@dataclass(eq=False)
class _Waiting:
    """An order in the queue. `done` is None where nobody waits."""

    command: Command
    done: asyncio.Future[Done]
    arrived_s: float = field(default_factory=time.monotonic)


class Controller:
    """Carries out orders. `submit` may be called by anyone on the loop; `run` is the one who acts."""

    def __init__(self, parts: Parts, snapshot: Snapshot) -> None:
        self._parts = parts
        self._snapshot = snapshot
        self._next: Snapshot | None = None
        self._chosen: dict[str, int] = {}
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._newest_apply: Apply | None = None
        self._happenings: deque[Happening] = deque(maxlen=_EVENTS_KEPT)
        self._background: set[asyncio.Task[None]] = set()

    @property
    def snapshot(self) -> Snapshot:
        """What is in force."""
        return self._snapshot

    def catalog_for(self, instance: Instance) -> Catalog:
        """The catalog that an instance is built from."""
        return (self._next or self._snapshot).catalog if instance.standby else self._snapshot.catalog

    def submit(self, command: Command) -> asyncio.Future[Done]:
        """Queue an order; the future tells how it went, and never raises."""
        waiting = _Waiting(command, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        if isinstance(command, Apply):
            self._newest_apply = command
        return waiting.done

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
                present = sum(1 for i in self._parts.supervisor.running if i.component == name)
                before = replace(watched.get(name, Watched(present)), wanted=present)
                beats = self._parts.roster.ready(name)
                after = watched[name] = step(before, beats, spec.replicas, time.monotonic())
                if after.wanted != present and beats:
                    done = await self.submit(ScaleTo(name, after.wanted))
                    if done.error is not None:
                        watched.pop(name)  # look anew before asking again

    async def stop(self) -> None:
        """Leave what is still finishing to the supervisor."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def happened(self, what: str, text: str, instance: Instance | None = None) -> None:
        """Note an event and tell whoever listens."""
        event = Happening(
            time.time(),
            what,
            f"{instance.name} {text}" if instance else text,
            instance.component if instance else "",
            instance.name if instance else "",
            instance.generation if instance else 0,
            self._snapshot.revision,
        )
        self._happenings.append(event)
        self._in_background(self._tell(event))

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _tell(self, event: Happening) -> None:
        try:
            await self._parts.bus.publish(subjects.EVENTS, encode(event))
        except TurnoutError:
            return  # the bus is away: the event is kept, and told to whoever asks later

    async def _on_command(self, message: Incoming) -> None:
        try:
            command = COMMAND_DECODER.decode(message.data)
        except msgspec.DecodeError:
            await self._answer(message.reply, Done(error=InvalidRequest("the order is not readable").to_info()))
            return
        if isinstance(command, Report):  # needs no turn
            await self._answer(message.reply, Done(self._snapshot.revision, events=tuple(self._happenings)))
            return
        done = self.submit(command)
        if message.reply:
            self._in_background(self._answer_when(message.reply, done))

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
            catalog = await self._catalog_of(command)
            return await self._apply(catalog, waiting.arrived_s)
        except TurnoutError as error:
            self.happened("refused", error.message)
            return Done(self._snapshot.revision, error=error.to_info())

    async def _catalog_of(self, command: Command) -> Catalog:
        """The catalog that is asked for, checked as far as that goes without starting anything.

        Raises:
            ConfigError: it cannot be used; file, line and reason. `Conflict`, `NotFound` if it is not there to be had.
        """
        if isinstance(command, Rollback):
            return await self._earlier(command.revision)
        if not isinstance(command, Apply):
            raise InvalidRequest("not an order for the controller")
        if command.after is not None and command.after != self._snapshot.revision:
            raise Conflict(f"revision {self._snapshot.revision} is in force, not {command.after}: look again")
        catalog = parse(command.text, command.name)
        base_dir = Path(self._snapshot.base_dir)
        found = await asyncio.to_thread(lambda: list(problems(catalog, base_dir)))
        if found:
            raise ConfigError(
                "\n".join(
                    f"{command.name}:{line_in(command.text, p.where, p.reason)}: "
                    f"{f'components.{p.where}' if p.where in catalog.components else p.where}: {p.reason}"
                    for p in found
                )
            )
        return catalog

    async def _earlier(self, revision: int | None) -> Catalog:
        history = await self._parts.bus.kv_history(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY)
        older = [entry for entry in history if entry.revision < self._snapshot.revision]
        found = next((e for e in reversed(older) if revision is None or e.revision == revision), None)
        if found is None:
            raise NotFound(f"there is no earlier revision {revision if revision is not None else ''}".rstrip())
        try:
            return Snapshot.model_validate_json(found.value).catalog
        except ValidationError as error:
            raise ConfigError(f"revision {found.revision} is not one this version can read") from error

    async def _apply(self, catalog: Catalog, arrived_s: float) -> Done:
        old = self._snapshot
        lines = changes(old.catalog, catalog)
        if not lines:
            return Done(old.revision)
        bounded = {
            name: min(max(count, catalog.components[name].replicas.min), catalog.components[name].replicas.max)
            for name, count in self._chosen.items()
            if name in catalog.components
        }
        following = Snapshot(base_dir=old.base_dir, catalog=catalog)
        steps = plan(wanted(following, bounded), self._parts.supervisor.running, self._parts.supervisor.leaving)
        self.happened("applying", "; ".join(lines))
        rollout, load_s = await self._exchange(steps, following)
        await self._commit(following)
        self._chosen = bounded
        self.happened("applied", f"revision {self._snapshot.revision} is in force")
        self._in_background(rollout.finish())
        return Done(self._snapshot.revision, lines, time.monotonic() - arrived_s, load_s)

    async def _exchange(self, steps: Plan, following: Snapshot) -> tuple[Rollout, float]:
        """Bring up what is new, built from `following`, and let it serve; returns the time it took to load, seconds."""
        rollout = Rollout(self._parts, steps, self._snapshot.catalog, following.catalog)
        began_s = time.monotonic()
        self._next = following
        try:
            # This is where instances on stand-by read what they are built from.
            data = following.model_dump_json().encode()
            await self._parts.bus.kv_put(subjects.STANDBY_BUCKET, subjects.CATALOG_KEY, data)
            await rollout.prepare()
            load_s = time.monotonic() - began_s
            await rollout.switch()
        finally:
            self._next = None
        return rollout, load_s

    async def _commit(self, snapshot: Snapshot) -> None:
        bus = self._parts.bus
        data = snapshot.model_dump_json().encode()
        revision = await bus.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, data)
        self._snapshot = snapshot.model_copy(update={"revision": revision})
        await bus.publish(subjects.CATALOG_CHANGED, str(revision).encode())

    async def _scale(self, command: ScaleTo | Wake) -> Done:
        spec = self._snapshot.catalog.components.get(command.component)
        if spec is None or not spec.enabled:
            raise NotFound(f"there is no component {command.component!r} to scale")
        present = sum(1 for i in self._parts.supervisor.running if i.component == command.component)
        count = command.count if isinstance(command, ScaleTo) else max(1, present)
        if not spec.replicas.min <= count <= spec.replicas.max:
            bounds = f"{spec.replicas.min} to {spec.replicas.max}"
            raise InvalidRequest(f"{command.component} runs {bounds} instances (replicas): change the catalog first")
        if count == present:
            return Done(self._snapshot.revision)
        self._chosen[command.component] = count
        steps = plan(
            wanted(self._snapshot, self._chosen), self._parts.supervisor.running, self._parts.supervisor.leaving
        )
        mine = Plan(
            tuple(i for i in steps.start if i.component == command.component),
            tuple(i for i in steps.stop if i.component == command.component),
        )
        line = f"~ {command.component}: {present} -> {count} instances"
        self.happened("scaling", line)
        began_s = time.monotonic()
        rollout, load_s = await self._exchange(mine, self._snapshot)
        self._in_background(rollout.finish())
        return Done(self._snapshot.revision, (line,), time.monotonic() - began_s, load_s)
