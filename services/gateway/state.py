"""What the gateway knows of the configuration: one immutable object, swapped whole.

A request reads `Live.current` once and works with that object to its end.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from services.bus.catalog_news import POLL_S, CatalogNews
from services.bus.port import Bus
from services.contracts import subjects
from services.contracts.access_keys import keys_in
from services.contracts.catalog import Gateway, KeyRef, Snapshot
from services.contracts.errors import ConfigError, TurnoutError

log = structlog.get_logger()

_MAX_KEY_FILE_BYTES = 1024 * 1024
_TENANT_CHARS = 16


@dataclass(frozen=True, slots=True)
class State:
    """One revision of the catalog and the keys in force.

    Attributes:
        tenants: SHA-256 of an accepted key -> its tenant; None: no keys are configured and everyone may enter.
        admins: the same for keys that may change what runs; None: none are configured.
    """

    snapshot: Snapshot
    tenants: dict[bytes, str] | None = None
    admins: dict[bytes, str] | None = None

    @classmethod
    def of(cls, snapshot: Snapshot) -> State:
        """The state of a catalog. Reads the keys it names.

        Raises:
            ConfigError: a place it names cannot be read or holds no key.
        """
        gateway, base_dir = snapshot.catalog.gateway, Path(snapshot.base_dir)
        return cls(
            snapshot,
            _tenants(gateway.keys, base_dir, "gateway.keys"),
            _tenants(gateway.admin_keys, base_dir, "gateway.admin_keys"),
        )

    @property
    def gateway(self) -> Gateway:
        """The limits of the HTTP edge."""
        return self.snapshot.catalog.gateway


class Live:
    """Holds the current `State` and replaces it when the catalog or the keys change."""

    def __init__(self, bus: Bus, state: State) -> None:
        self._bus = bus
        self.current = state

    async def refresh(self) -> None:
        """Look once whether something changed. What cannot be read leaves the old state in force."""
        snapshot = self.current.snapshot
        try:
            found = await self._bus.kv_get(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY)
            if found is not None and found[1] != snapshot.revision:
                snapshot = Snapshot.model_validate_json(found[0]).model_copy(update={"revision": found[1]})
            changed = await asyncio.to_thread(State.of, snapshot)
        except (TurnoutError, ValidationError) as error:
            log.warning("catalog_not_refreshed", error=str(error))
            return
        if changed != self.current:
            log.info("catalog_in_force", revision=snapshot.revision)
            self.current = changed

    async def follow(self, interval_s: float = POLL_S) -> None:
        """Refresh for ever: when a new revision is announced, and now and then in case that was not heard."""
        news = CatalogNews(self._bus, interval_s)
        await news.listen()
        while True:
            await news.due()
            await self.refresh()


def _tenants(where: KeyRef | None, base_dir: Path, param: str) -> dict[bytes, str] | None:
    """The accepted keys, hashed; None where the catalog names none."""
    if where is None:
        return None
    keys = keys_in(_read_keys(where, base_dir, param))
    if not keys:
        raise ConfigError(f"{param}: {_place(where)} holds no key; put one key a line there")
    return {key_digest(key.encode()): tenant_of(key.encode()) for key in keys}


def key_digest(key: bytes) -> bytes:
    """What keys are compared by: a lookup by digest tells a stop-watch nothing about the key."""
    return hashlib.sha256(key).digest()


def tenant_of(key: bytes) -> str:
    """The short name under which a key's traffic is recorded. The key cannot be derived from it."""
    return hashlib.sha256(b"turnout tenant " + key).hexdigest()[:_TENANT_CHARS]


def _read_keys(where: KeyRef, base_dir: Path, param: str) -> str:
    if where.env is not None:
        value = os.environ.get(where.env)
        if value is None:
            raise ConfigError(f"{param}: {_place(where)} is not set")
        return value
    try:
        with (base_dir / str(where.file)).open("rb") as file:
            return file.read(_MAX_KEY_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{param}: {_place(where)} cannot be read: {error}") from error


def _place(where: KeyRef) -> str:
    return f"environment variable {where.env}" if where.env is not None else f"file {where.file}"
