"""The gateway's process: `python -m services.gateway`."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import structlog

from services.bus.nats_bus import NatsBus
from services.bus.roster import Roster
from services.contracts.beat import Beat, State
from services.gateway import state as configuration
from services.gateway.app import build_app
from services.gateway.edge import edge
from services.gateway.server import listen, serving, url_of
from services.worker.announcer import Announcer
from services.worker.identity import Identity
from services.worker.process import read_snapshot, run

log = structlog.get_logger()

NAME = "gateway"


async def body(identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
    """Serve until asked to stop."""
    snapshot = await read_snapshot(bus, patience_s=identity.patience_s)
    state = configuration.State.of(snapshot)
    listener = listen(state.gateway)
    url = url_of(listener)
    roster = Roster(bus)
    await roster.start()
    now: State = "starting"
    async with edge(bus, roster, state) as parts:

        def beat() -> Beat:
            return Beat(
                component=NAME,
                kind=NAME,
                instance=identity.instance if identity.component else f"{NAME}-{os.getpid()}",
                generation=identity.generation,
                pid=os.getpid(),
                host=socket.gethostname(),
                state=now,
                model=url,
                slots=parts.live.current.gateway.max_in_flight,
                in_use=parts.metrics.in_flight,
                started_s=started_s,
            )

        started_s = time.time()
        announcer = Announcer(bus, beat)
        await announcer.start()
        async with serving(build_app(parts), listener, parts.live, identity.drain_s):
            now = "ready"
            await announcer.announce()
            log.info("listening", url=url, keys=state.tenants is not None)
            await stop.wait()
            now = "draining"
            await announcer.announce()
        await announcer.farewell()
    await roster.stop()


if __name__ == "__main__":
    run(NAME, body)
