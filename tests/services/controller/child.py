"""A component for the supervisor's tests: a real worker on the real bus, whose name says how it behaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

from services.bus.nats_bus import NatsBus
from services.contracts import subjects
from services.contracts.errors import ConfigError
from services.contracts.events import Event, Finished, Usage
from services.contracts.messages import Task
from services.worker.identity import Identity
from services.worker.orders import Orders
from services.worker.process import read_snapshot, run
from services.worker.runtime import Worker
from services.worker.service import Description, Job


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Behaving:
    """Does nothing, in the way its name says."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def start(self) -> None:
        if self.name.startswith("refusing"):
            raise ConfigError("sha256: the file small.gguf has another digest")
        if self.name.startswith("stubborn"):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.name.startswith("parent"):
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
            say(f"my child is {child.pid}")

    def describe(self) -> Description:
        if self.name.startswith("keyless"):
            return Description("none", (), state="unconfigured", detail="no key")
        return Description("fake-1", ("chat",))

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        yield Finished(Usage())

    async def stop(self) -> None: ...


async def body(identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
    say(f"hello from {identity.instance}")
    slots, revision = 1, 0
    if identity.component not in ("gateway", "router"):
        snapshot = await read_snapshot(bus, subjects.STANDBY_BUCKET if identity.standby else subjects.CATALOG_BUCKET)
        slots, revision = snapshot.catalog.components[identity.component].slots, snapshot.revision
    worker = Worker(
        bus,
        Behaving(identity.component),
        component=identity.component,
        kind="fake",
        instance=identity.instance,
        generation=identity.generation,
        slots=slots,
        standby=identity.standby,
    )
    orders = Orders(bus, worker, identity, revision)
    await orders.listen()
    await worker.start()
    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(orders.to_leave())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    await orders.stop()
    await worker.drain(identity.drain_s)


if __name__ == "__main__":
    if os.environ["TURNOUT_COMPONENT"].startswith("crashing"):
        sys.exit("this one always crashes")
    run("fake", body)
