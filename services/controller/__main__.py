"""The controller of a deployment in containers: `python -m services.controller`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.bus.nats_bus import NatsBus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import BEAT_INTERVAL_S
from services.contracts.catalog import Snapshot
from services.contracts.catalog_file import load
from services.contracts.control import Apply
from services.contracts.errors import ConfigError
from services.controller.bus_rights import CONTROLLER
from services.controller.declared import Declared, in_force
from services.controller.driven import Driven
from services.worker import health
from services.worker.identity import Identity
from services.worker.process import patiently, run


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    Attributes:
        config: the catalog of the deployment. base_dir: where its relative paths begin, in every container.
        replicas: on how many servers the bus keeps its data.
        driven: whether this process exchanges the containers itself, through the keeper.
    """

    config: Path
    base_dir: Path
    replicas: int
    driven: bool

    @classmethod
    def from_environment(cls) -> Settings:
        """Read `TURNOUT_CONFIG`, `_BASE_DIR`, `_JETSTREAM_REPLICAS` and `_DRIVER`.

        Raises:
            ConfigError: one has a value that means nothing.
        """
        env = os.environ
        replicas, driver = env.get("TURNOUT_JETSTREAM_REPLICAS", "1"), env.get("TURNOUT_DRIVER", "none")
        if replicas not in {"1", "3", "5"}:
            raise ConfigError(f"TURNOUT_JETSTREAM_REPLICAS must be 1, 3 or 5, not {replicas[:20]!r}")
        if driver not in {"none", "containers"}:
            raise ConfigError(f"TURNOUT_DRIVER must be `none` or `containers`, not {driver[:20]!r}")
        config = Path(env.get("TURNOUT_CONFIG", "/etc/turnout/turnout.yaml"))
        return cls(config, Path(env.get("TURNOUT_BASE_DIR", "/data")), int(replicas), driver == "containers")


async def body(identity: Identity, bus: NatsBus, stop: asyncio.Event) -> None:
    """Put the catalog in force and take orders until asked to stop."""
    settings = Settings.from_environment()
    load(settings.config)  # a bad file ends this before anything is changed
    await patiently(lambda: bus.ensure_storage(settings.replicas), identity.patience_s)  # a cluster elects first
    roster = Roster(bus)
    await roster.start()
    begin: Callable[[NatsBus, Roster, Settings], Awaitable[Callable[[], Awaitable[None]]]]
    begin = partial(_driven, patience_s=identity.patience_s) if settings.driven else _declared
    working = asyncio.ensure_future((await begin(bus, roster, settings))())
    stopping = asyncio.create_task(stop.wait())
    while not working.done() and not stopping.done():
        health.note("ready")
        await asyncio.wait([working, stopping], timeout=BEAT_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    working.cancel()
    await asyncio.wait([working])
    await roster.stop()
    if not working.cancelled():
        working.result()


async def _declared(bus: NatsBus, roster: Roster, settings: Settings) -> Callable[[], Awaitable[None]]:
    declared = Declared(bus, roster, settings.base_dir)
    await declared.begin(load(settings.config))
    return declared.run


async def _driven(
    bus: NatsBus, roster: Roster, settings: Settings, *, patience_s: float
) -> Callable[[], Awaitable[None]]:
    catalog = load(settings.config)
    old, is_news = await in_force(bus, catalog)
    newer = Apply(settings.config.read_text("utf-8"), str(settings.config)) if old is not None and is_news else None
    if old is None:
        old = Snapshot(base_dir=str(settings.base_dir), catalog=catalog)
        data = old.model_dump_json().encode()
        revision = await bus.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, data)
        old = old.model_copy(update={"revision": revision})
    return Driven(bus, roster, old, newer, patience_s=patience_s).run


if __name__ == "__main__":
    run(CONTROLLER, body)
