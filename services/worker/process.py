"""The wiring of a component's process: environment, logs, bus, catalog, service, signals."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import uvloop
from pydantic import ValidationError

from services.bus.nats_bus import NatsBus, connect
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.catalog import Component, Snapshot
from services.contracts.control import Order
from services.contracts.errors import ComponentTimeout, ComponentUnavailable, ConfigError, NotFound, TurnoutError
from services.worker import tracing
from services.worker.identity import Identity
from services.worker.logs import configure
from services.worker.orders import Orders
from services.worker.parent import die_with_parent
from services.worker.runtime import Worker
from services.worker.service import Service, Surroundings

log = structlog.get_logger()
T = TypeVar("T")

_HEALTH_POLL_S = 0.5
_AGAIN_S = 0.5
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG: starting it again will not help


def run(name: str, body: Callable[[Identity, NatsBus, asyncio.Event], Awaitable[None]]) -> None:
    """Run a process until SIGTERM or SIGINT: `body` gets its identity, the bus, and an event that asks it to end."""
    die_with_parent()
    configure(name)
    try:
        identity = Identity.from_environment()
        configure(identity.instance or name)
        with tracing.exporting(identity.instance or name):
            uvloop.run(_until_stopped(name, identity, body))
    except TurnoutError as error:
        log.error("cannot_start", reason=error.message)  # noqa: TRY400 - the message is for an operator
        sys.exit(EXIT_CONFIG if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


async def _until_stopped(
    name: str, identity: Identity, body: Callable[[Identity, NatsBus, asyncio.Event], Awaitable[None]]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    async def reach() -> NatsBus:
        return await connect(identity.nats_url, name=identity.instance or name, login=identity.nats_login)

    bus = await patiently(reach, identity.patience_s)
    try:
        await body(identity, bus, stop)
    finally:
        await bus.close()


async def patiently(attempt: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """What `attempt` gives as soon as it gives something: what others still have to bring up is waited for."""
    give_up_s = time.monotonic() + patience_s
    while True:
        try:
            return await attempt()
        except (ComponentUnavailable, ComponentTimeout, NotFound) as error:
            if time.monotonic() > give_up_s:
                raise
            log.info("waiting", reason=error.message)
        await asyncio.sleep(_AGAIN_S)


async def _until_failed(worker: Worker) -> None:
    """Return when the service says that it cannot go on: a new process may."""
    while worker.beat().state != "failed":  # noqa: ASYNC110 - computed when asked: nothing announces it
        await asyncio.sleep(_HEALTH_POLL_S)


async def read_snapshot(bus: NatsBus, bucket: str = subjects.CATALOG_BUCKET, *, patience_s: float = 0.0) -> Snapshot:
    """The catalog in force, or the one that is to come.

    Raises:
        ConfigError: none has been published within `patience_s`, or one that this version cannot read.
    """

    async def look() -> tuple[bytes, int]:
        found = await bus.kv_get(bucket, subjects.CATALOG_KEY)
        if found is None:
            raise NotFound("no catalog yet")
        return found

    try:
        value, revision = await patiently(look, patience_s)
    except NotFound as error:
        missing = "no catalog on this bus: start it with `turnout up`, or `turnout apply turnout.yaml`"
        raise ConfigError(missing) from error
    try:
        return Snapshot.model_validate_json(value).model_copy(update={"revision": revision})
    except ValidationError as error:
        raise ConfigError(f"the catalog on the bus (revision {revision}) is not one this version can read") from error


def run_component(
    kind: str,
    build: Callable[[Component, Surroundings], Service],
    *,
    needs_roster: bool = False,
) -> None:
    """The whole `__main__` of a component kind.

    Args:
        kind: as in the catalog.
        build: makes the service from its catalog section; must not block (loading happens in its `start`).
        needs_roster: the service asks other components, so it must know who lives.
    """

    async def body(identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
        bucket = subjects.STANDBY_BUCKET if identity.standby else subjects.CATALOG_BUCKET
        snapshot = await read_snapshot(bus, bucket, patience_s=identity.patience_s)
        spec = snapshot.catalog.components.get(identity.component)
        if spec is None or spec.kind != kind:
            raise ConfigError(f"the catalog has no {kind} component called {identity.component!r}")
        roster = Roster(bus) if needs_roster else None
        if roster is not None:
            await roster.start()
        around = Surroundings(bus, identity.component, identity.instance, snapshot.base_dir, roster)
        worker = Worker(
            bus,
            build(spec, around),
            component=identity.component,
            kind=kind,
            instance=identity.instance,
            generation=identity.generation,
            slots=spec.slots,
            queue_max=spec.queue,
            standby=identity.standby,
        )
        orders = Orders(bus, worker, identity, snapshot.revision)
        await orders.listen()
        starting = asyncio.create_task(worker.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        await starting
        failing = asyncio.create_task(_until_failed(worker))
        leaving = asyncio.create_task(orders.to_leave())
        await asyncio.wait([stopping, failing, leaving], return_when=asyncio.FIRST_COMPLETED)
        failed = not stop.is_set() and not leaving.done()
        order = Order("drain", 0.0 if failed else identity.drain_s) if failed or stop.is_set() else leaving.result()
        failing.cancel()
        leaving.cancel()
        await worker.drain(order.grace_s, stop, identity.drain_s, hand_back=order.hand_back)
        await orders.stop()
        if roster is not None:
            await roster.stop()
        if failed:
            raise ComponentUnavailable(f"{identity.component} has failed: {worker.beat().detail}")

    run(kind, body)
