"""The controller of a deployment in containers: `python -m services.controller`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from services.bus.nats_bus import NatsBus
from services.bus.roster import Roster
from services.contracts.beat import BEAT_INTERVAL_S
from services.contracts.catalog import Catalog
from services.contracts.catalog_file import load
from services.contracts.errors import ConfigError
from services.controller.bus_rights import CONTROLLER
from services.controller.declared import Declared
from services.worker import health
from services.worker.identity import Identity
from services.worker.process import run

_FILE = "/etc/turnout/turnout.yaml"
_DATA = "/data"


async def body(_identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
    """Put the catalog in force and take orders until asked to stop.

    `TURNOUT_CONFIG` names the file, `TURNOUT_JETSTREAM_REPLICAS` says on how many servers the bus keeps its data.
    Relative paths of the catalog begin at `TURNOUT_BASE_DIR`, in every container.
    """
    catalog = load(Path(os.environ.get("TURNOUT_CONFIG", _FILE)))
    await bus.ensure_storage(_replicas(os.environ.get("TURNOUT_JETSTREAM_REPLICAS", "1")))
    roster = Roster(bus)
    await roster.start()
    declared = Declared(bus, roster, Path(os.environ.get("TURNOUT_BASE_DIR", _DATA)))
    working = asyncio.create_task(_work(declared, catalog))
    stopping = asyncio.create_task(stop.wait())
    while not working.done() and not stopping.done():
        health.note("ready" if declared.revision else "starting")
        await asyncio.wait([working, stopping], timeout=BEAT_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await roster.stop()
    if working.done():
        working.result()
    working.cancel()


async def _work(declared: Declared, catalog: Catalog) -> None:
    await declared.begin(catalog)
    await declared.run()


def _replicas(text: str) -> int:
    if text not in {"1", "3", "5"}:
        raise ConfigError(f"TURNOUT_JETSTREAM_REPLICAS must be 1, 3 or 5, not {text[:20]!r}")
    return int(text)


if __name__ == "__main__":
    run(CONTROLLER, body)
