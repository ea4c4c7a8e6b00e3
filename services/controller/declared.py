"""Holds the catalog of a deployment whose containers somebody else starts: Compose, Swarm or Kubernetes.

It starts no process. A change that running instances can follow by themselves is put in force; one that needs new
instances is rolled out by telling the old ones to leave, one after the other: they finish what they do, their
container is started again by whoever keeps it, and reads the new catalog. If the first that comes back is not well,
the old catalog is in force again.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path

import msgspec
import structlog
from pydantic import ValidationError

from services.bus.port import Bus, Incoming
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.catalog_file import parse
from services.contracts.control import COMMAND_DECODER, Apply, Command, Done, Happening, Order, Rollback, Wake
from services.contracts.errors import (
    ComponentUnavailable,
    ConfigError,
    Conflict,
    InvalidRequest,
    TurnoutError,
)
from services.contracts.messages import encode
from services.controller.changes import changes
from services.controller.journal import Journal
from services.controller.ordered import earlier
from services.controller.reconciler import fingerprint
from services.controller.waiting import first_of

log = structlog.get_logger()

_TICK_S = 0.25
_DECLARED_KEY = "declared"  # the digest of the file that was last put in force
_WELL = frozenset(("ready", "unconfigured"))


class Declared:
    """The one writer of the catalog. `run` carries out orders, one after the other."""

    def __init__(self, bus: Bus, roster: Roster, base_dir: Path) -> None:
        self._bus = bus
        self._roster = roster
        self._base_dir = base_dir
        self._snapshot: Snapshot | None = None
        self._outdated: list[str] = []
        self._orders: asyncio.Queue[tuple[Command, str]] = asyncio.Queue()
        self._journal = Journal(bus)

    async def begin(self, catalog: Catalog) -> None:
        """Put the catalog of the deployment in force, and take orders.

        One that was applied since the file was last changed stays in force: this process may start again at any time.
        What the file lists and what runs were declared together, so nothing is waited for. Instances that still run by
        an older catalog (this container alone was made anew) are rolled by `run`.
        """
        old, is_news = await in_force(self._bus, catalog)
        self._snapshot = old
        await self._bus.subscribe(subjects.CONTROLLER, self._on_command)
        if not is_news:
            return
        await self._commit(catalog)
        self._tell("applied", f"revision {self.revision} is in force")
        self._outdated = _changed(old.catalog, catalog) if old is not None else []

    @property
    def _in_force(self) -> Snapshot:
        if self._snapshot is None:
            raise ComponentUnavailable("no catalog is in force yet")
        return self._snapshot

    @property
    def revision(self) -> int:
        """Of the catalog in force."""
        return self._snapshot.revision if self._snapshot else 0

    async def run(self) -> None:
        """Carry out orders, for ever."""
        try:
            await self._catch_up()
            while True:
                command, reply = await self._orders.get()
                try:
                    done = await self._carry_out(command)
                except TurnoutError as error:
                    self._tell("refused", error.message)
                    done = Done(self.revision, error=error.to_info())
                if reply:
                    await self._bus.publish(reply, encode(done))
        finally:
            await self._journal.stop()

    async def _catch_up(self) -> None:
        """Roll what still runs by an older catalog."""
        try:
            for component in self._outdated:
                await self._roll(component, self._in_force.catalog)
        except TurnoutError as error:  # the catalog is the deployment's: it stays
            self._tell("refused", error.message)

    async def _on_command(self, message: Incoming) -> None:
        try:
            command = COMMAND_DECODER.decode(message.data)
        except msgspec.DecodeError:
            done = Done(error=InvalidRequest("the order is not readable").to_info())
            if message.reply:
                await self._bus.publish(message.reply, encode(done))
            return
        if not isinstance(command, Wake):  # nothing sleeps here
            self._orders.put_nowait((command, message.reply))

    async def _carry_out(self, command: Command) -> Done:
        if isinstance(command, Apply):
            if command.after is not None and command.after != self.revision:
                raise Conflict(f"revision {self.revision} is in force, not {command.after}: look again")
            return await self._apply(parse(command.text, command.name))
        if isinstance(command, Rollback):
            return await self._apply((await earlier(command.revision, self._in_force, self._bus)).catalog)
        raise InvalidRequest(
            "the number of containers is changed where they were declared, such as `docker compose up --scale`"
        )

    async def _apply(self, catalog: Catalog) -> Done:
        old, began_s = self._in_force.catalog, time.monotonic()
        lines = changes(old, catalog)
        if not lines:
            return Done(self.revision)
        other = sorted(_running(old) ^ _running(catalog))
        if other:
            raise ConfigError(
                f"components.{other[0]}: containers come and go where they were declared: change the services, too, "
                "and start the deployment with both"
            )
        rolled = _changed(old, catalog)
        self._tell("applying", "; ".join(lines))
        await self._commit(catalog)
        try:
            for component in rolled:
                await self._roll(component, catalog)
        except TurnoutError as error:
            await self._commit(old)
            self._tell("rolled_back", f"revision {self.revision} is as before: {error.message}")
            raise
        self._tell("applied", f"revision {self.revision} is in force")
        took_s = time.monotonic() - began_s
        return Done(self.revision, lines, took_s, took_s)

    async def _roll(self, component: str, catalog: Catalog) -> None:
        """Have the instances of a component leave and come back, one after the other.

        Raises:
            ComponentUnavailable: one did not come back well; the rest were not asked.
        """
        swap = catalog.components[component].swap
        old = [beat for beat in self._roster.all() if beat.component == component]
        for number, beat in enumerate(old, 1):
            self._tell("draining", f"{beat.instance} finishes what it does and starts again", beat)
            order = encode(Order("drain", swap.drain_s))
            await self._bus.publish(subjects.order(beat.instance), order)
            give_up_s = time.monotonic() + swap.drain_s + swap.start_s
            while self._come_back(component, old) < number:
                if time.monotonic() > give_up_s:
                    raise ComponentUnavailable(f"components.{component}: {beat.instance} did not come back well")
                await first_of(self._roster.changed(), asyncio.sleep(_TICK_S))
            self._tell("serving", f"{component} serves from the new catalog", beat)

    def _come_back(self, component: str, old: list[Beat]) -> int:
        """How many instances serve that are not among the old ones. A container that started again may have a new name.

        Raises:
            ComponentUnavailable: one has failed.
        """
        known = {(beat.instance, beat.started_s) for beat in old}
        beats = [b for b in self._roster.all() if b.component == component and (b.instance, b.started_s) not in known]
        for beat in beats:
            if beat.state == "failed":
                raise ComponentUnavailable(f"components.{component}: {beat.detail}")
        return sum(1 for beat in beats if beat.state in _WELL)

    async def _commit(self, catalog: Catalog) -> None:
        snapshot = Snapshot(base_dir=str(self._base_dir), catalog=catalog)
        data = snapshot.model_dump_json().encode()
        revision = await self._bus.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, data)
        self._snapshot = snapshot.model_copy(update={"revision": revision})
        await self._bus.publish(subjects.CATALOG_CHANGED, str(revision).encode())

    def _tell(self, what: str, text: str, beat: Beat | None = None) -> None:
        component, instance = (beat.component, beat.instance) if beat else ("", "")
        self._journal.note(Happening(time.time(), what, text, component, instance, revision=self.revision))
        log.info(what, text=text)


async def in_force(bus: Bus, declared: Catalog) -> tuple[Snapshot | None, bool]:
    """The catalog on the bus, and whether the one that the deployment declares is news: it was not declared before."""
    found = await bus.kv_get(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY)
    old = _snapshot(found) if found else None
    digest = hashlib.sha256(declared.model_dump_json().encode()).hexdigest().encode()
    known = await bus.kv_get(subjects.CATALOG_BUCKET, _DECLARED_KEY)
    if known is None or known[0] != digest:
        await bus.kv_put(subjects.CATALOG_BUCKET, _DECLARED_KEY, digest)
        return old, old is None or old.catalog != declared
    return old, old is None


def _snapshot(found: tuple[bytes, int]) -> Snapshot:
    try:
        return Snapshot.model_validate_json(found[0]).model_copy(update={"revision": found[1]})
    except ValidationError as error:
        raise ConfigError(f"revision {found[1]} is not one this version can read") from error


def _running(catalog: Catalog) -> frozenset[str]:
    return frozenset(name for name, spec in catalog.components.items() if spec.enabled)


def _changed(old: Catalog, new: Catalog) -> list[str]:
    """The components that run on, but whose instances can no longer stand for their section."""
    both = _running(old) & _running(new)
    return [name for name in sorted(both) if fingerprint(old.components[name]) != fingerprint(new.components[name])]
