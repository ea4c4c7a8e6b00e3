"""How many instances of each component run by somebody's choice, kept for the controller that comes after this one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import structlog

from services.bus.port import Bus
from services.contracts import subjects
from services.contracts.catalog import Catalog
from services.contracts.errors import ConfigError, Conflict
from services.controller.lasting import store

log = structlog.get_logger()

_DECODER = msgspec.json.Decoder(dict[str, int])


class Counts:
    """What `turnout scale`, the autoscaler and the end of a trial have chosen. The controller is the one writer.

    Attributes:
        chosen: instances by component; those not in it run at their minimum.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._revision = 0
        self.chosen: Mapping[str, int] = {}

    async def begin(self, *, inherit: bool) -> None:
        """Take over what an earlier controller has kept, or have it forgotten.

        One that slept starts awake: routers that are new, too, would not know what it can do.
        """
        self.chosen = await self._read()
        if inherit:
            self.chosen = {name: max(1, count) for name, count in self.chosen.items()}
        else:
            await self.keep({})

    def within(self, catalog: Catalog) -> dict[str, int]:
        """Those of the components that a catalog has, in the bounds it sets them."""
        bounds = {name: spec.replicas for name, spec in catalog.components.items()}
        return {
            name: min(max(count, bounds[name].min), bounds[name].max)
            for name, count in self.chosen.items()
            if name in bounds
        }

    async def keep(self, chosen: Mapping[str, int]) -> None:
        """Note the choice.

        Raises:
            Conflict: another controller has noted one meanwhile. `TurnoutError`: the bus does not take it.
        """
        if chosen == self.chosen:
            return
        value = msgspec.json.encode(chosen)
        try:
            self._revision = await store(
                self._bus, subjects.SCALE_BUCKET, subjects.SCALE_KEY, value, after=self._revision
            )
        except ConfigError as error:
            # It may have been us: the bus went away between taking it and saying so.
            if await self._read() != chosen:
                raise Conflict("another controller has scaled meanwhile: look again") from error
        self.chosen = chosen

    async def _read(self) -> dict[str, int]:
        found = await self._bus.kv_get(subjects.SCALE_BUCKET, subjects.SCALE_KEY)
        if found is None:
            return {}
        value, self._revision = found
        try:
            return _DECODER.decode(value)
        except msgspec.DecodeError as error:
            log.warning("counts_unreadable", error=str(error))
            return {}
