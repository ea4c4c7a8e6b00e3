"""One change of what runs, all of it or nothing: new instances load, prove themselves and serve; then old ones leave.

    start on stand-by -> loaded -> probed -> serve (routers prefer the newest generation) -> the old drain and end

Until the new ones serve, nothing has changed for anybody; whatever fails before that ends the new ones alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from services.bus.port import Bus
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.beat import Beat
from services.contracts.catalog import Catalog, Swap
from services.contracts.control import Order
from services.contracts.errors import ComponentTimeout, ComponentUnavailable, ConfigError, TurnoutError
from services.contracts.keeper import Instance
from services.contracts.messages import encode
from services.controller.probe import probe
from services.controller.reconciler import Plan
from services.controller.supervisor import Supervisor
from services.controller.waiting import first_of
from services.worker.process import EXIT_CONFIG

_LOADED = frozenset({"standby", "unconfigured", "ready"})
_MAX_DEATHS = 2
_TICK_S = 0.1
_PROBE_S = 60.0
_GRACE_S = 3.0
_MARGIN_S = 5.0

Tell = Callable[[str, str, Instance], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a rollout works with. `tell` takes what happened, in words, and to which instance."""

    bus: Bus
    roster: Roster
    supervisor: Supervisor
    tell: Tell


class Rollout:
    """Takes the steps of a plan from one catalog to another.

    Attributes:
        starting: the instances that are new.
    """

    def __init__(self, parts: Parts, steps: Plan, old: Catalog, new: Catalog) -> None:
        self._parts = parts
        self._old, self._new = old, new
        self.starting = tuple(replace(instance, standby=True) for instance in steps.start)
        self._leaving = steps.stop
        self._gone: list[Instance] = []  # those that had to leave first

    async def prepare(self) -> None:
        """Have every new instance loaded and proven.

        Raises:
            TurnoutError: one cannot be had. What ran before still does.
        """
        at_once = [i for i in self.starting if not self._replaced(i)]
        later = [i for i in self.starting if self._replaced(i)]
        try:
            await self._bring_up(at_once)
            if later:
                first = {i.component for i in later}
                self._gone = [i for i in self._leaving if i.component in first]
                await self._retire(self._gone, self._old)
                await self._bring_up(later)
        except BaseException:
            await self.undo_at_once()
            raise

    async def try_out(self, shares: Mapping[str, float]) -> None:
        """Let the new ones of some components serve beside the old ones. `shares` of the requests, by component."""
        trying = [i for i in self.starting if i.component in shares]
        await self._serve(trying, shares)
        for instance in trying:
            self._parts.tell("trying", f"takes its part of {shares[instance.component]:.0%} of the requests", instance)

    async def undo_at_once(self) -> None:
        """Stop the new ones, and start those again that had to leave for them."""
        await self._parts.supervisor.stop_some((i.name for i in self.starting), _GRACE_S)
        if self._gone:
            self._parts.supervisor.start(self._gone)
            await self._loaded(self._gone)

    async def switch(self) -> None:
        """Let the new ones serve.

        Raises:
            ComponentTimeout: one does not, although it is loaded.
        """
        for instance in self.starting:
            self._parts.supervisor.promote(instance.name)
        await self._serve(self.starting, {})
        for instance in self.starting:
            self._parts.tell("serving", "serves", instance)

    async def finish(self, leaving: Iterable[Instance] | None = None) -> None:
        """Have the old ones finish what they do and leave. `leaving` where other ones do than was planned."""
        old = self._leaving if leaving is None else leaving
        await self._retire([i for i in old if i not in self._gone], self._old)

    async def undo(self) -> None:
        """Have the new ones finish what they do and leave."""
        await self._retire(list(self.starting), self._new)

    async def _serve(self, instances: Iterable[Instance], shares: Mapping[str, float]) -> None:
        late = {i.name: shares.get(i.component, 1.0) for i in instances}
        give_up_s = time.monotonic() + _MARGIN_S
        while late:
            if time.monotonic() > give_up_s:
                raise ComponentTimeout(f"{', '.join(late)} did not begin to serve within {_MARGIN_S:g} s")
            for name, share in late.items():  # again and again: a bus that has just restarted may have lost an order
                await self._parts.bus.publish(subjects.order(name), encode(Order("serve", share=share)))
            await first_of(self._parts.roster.changed(), asyncio.sleep(_TICK_S))
            beats = {beat.instance: beat for beat in self._parts.roster.all()}
            late = {name: share for name, share in late.items() if name in beats and _waits(beats[name], share)}

    def _replaced(self, instance: Instance) -> bool:
        """Whether the old instances must leave before this one comes: its section says so, and there are some."""
        wanted = self._swap(instance, self._new).mode == "replace"
        return wanted and any(i.component == instance.component for i in self._leaving)

    async def _bring_up(self, instances: list[Instance]) -> None:
        self._parts.supervisor.start(instances)
        for instance in instances:
            self._parts.tell("starting", "starts on stand-by", instance)
        beats = await self._loaded(instances)
        for instance in instances:
            if self._swap(instance, self._new).probe:
                try:
                    await probe(self._parts.bus, beats[instance.name], _PROBE_S)
                except TurnoutError as error:
                    what = f"{instance.name} loaded, but failed its probe: {error.message}"
                    raise ComponentUnavailable(f"components.{instance.component}: {what}") from error
            self._parts.tell("proven", "is loaded and has answered its probe", instance)

    async def _loaded(self, instances: Iterable[Instance]) -> Mapping[str, Beat]:
        """The beats of these once all are loaded.

        Raises:
            ConfigError: one refuses its configuration. `ComponentUnavailable` if it keeps dying, `ComponentTimeout` if
                it takes too long.
        """
        awaited = {instance.name: instance for instance in instances}
        patience_s = max((self._swap(i, self._new).start_s for i in awaited.values()), default=0.0)
        give_up_s = time.monotonic() + patience_s
        while True:
            beats = {b.instance: b for b in self._parts.roster.all() if b.instance in awaited}
            for name, instance in awaited.items():
                self._check(instance, beats.get(name))
            missing = [name for name in awaited if name not in beats or beats[name].state not in _LOADED]
            if not missing:
                return beats
            if time.monotonic() > give_up_s:
                raise ComponentTimeout(f"{', '.join(missing)} did not load within {patience_s:g} s (swap.start_s)")
            await first_of(self._parts.roster.changed(), asyncio.sleep(_TICK_S))

    def _check(self, instance: Instance, beat: Beat | None) -> None:
        where = f"components.{instance.component}"
        if beat is not None and beat.state == "failed":
            raise ConfigError(f"{where}: {beat.detail}")
        endings = self._parts.supervisor.endings(instance.name)
        if endings and endings[-1].code == EXIT_CONFIG:
            raise ConfigError(f"{where}: {endings[-1].reason}")
        if len(endings) >= _MAX_DEATHS:
            said = f": {endings[-1].reason}" if endings[-1].reason else ""
            raise ComponentUnavailable(f"{where}: {instance.name} keeps dying ({endings[-1].how}{said})")

    async def _retire(self, instances: list[Instance], catalog: Catalog) -> None:
        names = {instance.name for instance in instances}
        others = {i.component for i in self._parts.supervisor.running if i.name not in names and not i.standby}

        async def one(instance: Instance) -> None:
            drain_s = self._swap(instance, catalog).drain_s
            self._parts.tell("draining", f"finishes what it does, for up to {drain_s:g} s", instance)
            order = encode(Order("drain", drain_s, hand_back=instance.component in others))
            ask = partial(self._parts.bus.publish, subjects.order(instance.name), order)
            await self._parts.supervisor.retire(instance.name, drain_s + _MARGIN_S, _GRACE_S, ask)
            self._parts.tell("left", "has left", instance)

        await asyncio.gather(*map(one, instances))

    def _swap(self, instance: Instance, catalog: Catalog) -> Swap:
        spec = catalog.components.get(instance.component)
        return spec.swap if spec is not None else Swap()


def _waits(beat: Beat, share: float) -> bool:
    """Whether an instance has not yet done as it was told. An `unconfigured` one waits for its user."""
    return beat.state == "standby" or (beat.state == "ready" and beat.share != share)
