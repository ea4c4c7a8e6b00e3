"""The catalog that an order asks for, checked as far as that goes without starting anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import ValidationError

from services.bus.port import Bus
from services.contracts import subjects
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.catalog_file import parse
from services.contracts.control import Apply, Rollback
from services.contracts.errors import ConfigError, Conflict, NotFound
from services.controller.check import Problem
from services.controller.positions import line_in

Look = Callable[[Catalog, Path], Iterable[Problem]]


async def ordered(command: Apply | Rollback, in_force: Snapshot, bus: Bus, look: Look) -> Catalog:
    """Read it; `look` finds what is wrong with it beyond its form, on this machine.

    Raises:
        ConfigError: it cannot be used; file, line and reason. `Conflict`, `NotFound` if it is not there to be had.
    """
    if isinstance(command, Rollback):
        return (await earlier(command.revision, in_force, bus)).catalog
    if command.after is not None and command.after != in_force.revision:
        raise Conflict(f"revision {in_force.revision} is in force, not {command.after}: look again")
    catalog = await asyncio.to_thread(parse, command.text, command.name)  # seconds, for a large one
    base_dir = Path(in_force.base_dir)
    found = await asyncio.to_thread(lambda: list(look(catalog, base_dir)))
    if found:
        raise ConfigError(
            "\n".join(
                f"{command.name}:{line_in(command.text, p.where, p.reason)}: "
                f"{f'components.{p.where}' if p.where in catalog.components else p.where}: {p.reason}"
                for p in found
            )
        )
    return catalog


async def earlier(revision: int | None, in_force: Snapshot, bus: Bus) -> Snapshot:
    """One that was in force; without a revision, the last that says something else: a start writes what it begins with.

    Raises:
        NotFound: there is none. ConfigError: another version has written it.
    """
    history = await bus.kv_history(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY)
    for entry in reversed(history):
        if entry.revision >= in_force.revision or revision not in (None, entry.revision):
            continue
        try:
            found = Snapshot.model_validate_json(entry.value).model_copy(update={"revision": entry.revision})
        except ValidationError as error:
            raise ConfigError(f"revision {entry.revision} is not one this version can read") from error
        if revision is not None or found.catalog != in_force.catalog:
            return found
    raise NotFound(f"there is no earlier revision {revision if revision is not None else ''}".rstrip())
