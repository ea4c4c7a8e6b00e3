"""The controller of a deployment whose containers it exchanges itself, through the keeper.

The same owner of what runs as in `turnout up`, with another driver: swaps, roll-backs, scaling and sleep work alike.
The containers outlive it; started again, it takes over those that run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import structlog

from services.bus.nats_bus import NatsBus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.control import Apply, Order
from services.contracts.errors import TurnoutError
from services.contracts.keeper import Instance
from services.contracts.messages import encode
from services.controller.check import Problem
from services.controller.container_driver import ContainerDriver
from services.controller.controller import Controller
from services.controller.reconciler import plan
from services.controller.rollout import Parts
from services.controller.supervisor import Supervisor
from services.worker.process import patiently

log = structlog.get_logger()


class Driven:
    """One controller's life."""

    def __init__(
        self, bus: NatsBus, roster: Roster, snapshot: Snapshot, newer: Apply | None, *, patience_s: float = 0.0
    ) -> None:
        """Take the parts.

        Args:
            snapshot: in force; newer: what the deployment declares, where that is something else.
            patience_s: for how long the keeper is waited for.
        """
        self._bus = bus
        self._patience_s = patience_s
        self._newer = newer
        self._driver = ContainerDriver(bus, _say)
        self._supervisor = Supervisor(self._driver, announce_gone=self._announce_gone, say=_say)
        self._controller = Controller(Parts(bus, roster, self._supervisor, self._tell), snapshot, _look)

    async def run(self) -> None:
        """Bring what runs in line with the catalog, then carry out orders, for ever."""
        await self._driver.listen()
        running = await patiently(self._driver.running, self._patience_s)
        await self._controller.begin(inherit=True)
        steps = plan(self._controller.wanted, running)
        self._supervisor.start(running)  # taken over; those that are not wanted any more are stopped
        # One may have been on stand-by when an earlier controller ended; of a change not yet in force, none serves.
        for instance in running:
            if instance not in steps.stop:
                await self._bus.publish(subjects.order(instance.name), encode(Order("serve")))
        self._supervisor.start(steps.start)
        works = (self._controller.run(), self._controller.autoscale(), self._controller.heal())
        working = [asyncio.create_task(work) for work in works]
        await self._controller.listen()
        try:
            await self._supervisor.stop_some((instance.name for instance in steps.stop), _GRACE_S)
            if self._newer is not None:
                done = await self._controller.submit(self._newer)
                if done.error is not None:
                    log.error("not_applied", reason=done.error.message)
            await asyncio.gather(*working, self._refusals())
        finally:
            for task in working:
                task.cancel()
            await self._controller.stop()
            await self._driver.stop()

    async def _refusals(self) -> None:
        while True:
            refusal = await self._supervisor.refusals.get()
            log.error("refused", instance=refusal.instance.name, reason=refusal.reason)

    async def _announce_gone(self, instance: Instance) -> None:
        try:
            await self._bus.publish(subjects.gone(instance.component, instance.name), b"")
        except TurnoutError as error:
            _say(f"nobody could be told that {instance.name} is gone: {error.message}", "warning")

    def _tell(self, what: str, text: str, instance: Instance) -> None:
        self._controller.happened(what, text, instance)
        log.info(what, instance=instance.name, text=text)


_GRACE_S = 40.0


def _say(text: str, level: str) -> None:
    getattr(log, level)("supervisor", text=text)


def _look(_catalog: Catalog, _base_dir: Path) -> Iterable[Problem]:
    """Models and keys lie in the containers of their components: the new instances look themselves, on stand-by."""
    return ()
