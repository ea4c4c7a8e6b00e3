"""What should run, what runs, and the difference. Pure: it is given both and returns what to start and to stop.

Used once at start, and again whenever the catalog or the wanted number of replicas changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from services.contracts.catalog import ComponentBase, Snapshot
from services.contracts.keeper import Instance
from services.controller.modules import GATEWAY, ROUTER

LIVE = frozenset({"replicas", "enabled", "swap", "price", "quality", "tier"})
"""Fields of a component that change without a new instance."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One component as it should run.

    Attributes:
        fingerprint: changes when an instance of the old configuration can no longer stand for the new one.
    """

    component: str
    kind: str
    replicas: int
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps from what runs to what should. Start before stopping, so that a changed component never has a gap."""

    start: tuple[Instance, ...] = ()
    stop: tuple[Instance, ...] = ()


def wanted(snapshot: Snapshot, replicas: Mapping[str, int] | None = None) -> tuple[Wanted, ...]:
    """What a catalog asks for: the gateway, a router, and its enabled components.

    Args:
        replicas: numbers that an autoscaler or a user chose; kept within the component's own bounds.
    """
    chosen = replicas or {}
    edge = (Wanted(GATEWAY, GATEWAY, 1), Wanted(ROUTER, ROUTER, 1))  # both follow the catalog by themselves
    components = (
        Wanted(name, spec.kind, _bounded(spec, chosen.get(name)), fingerprint(spec))
        for name, spec in snapshot.catalog.components.items()
        if spec.enabled
    )
    return (*edge, *components)


def plan(desired: Iterable[Wanted], running: Iterable[Instance], leaving: Iterable[str] = ()) -> Plan:
    """The steps to take.

    An instance with the right fingerprint is kept. A changed component gets its new instances under new names and in
    the next generation, so that both can live side by side until the old one has drained.

    Args:
        leaving: names of instances that are still finishing what they do; no new one is called the same.
    """
    gone = frozenset(leaving)
    by_component: dict[str, list[Instance]] = {}
    for instance in running:
        by_component.setdefault(instance.component, []).append(instance)
    start: list[Instance] = []
    stop: list[Instance] = []
    for want in desired:
        present = by_component.pop(want.component, [])
        fit = [i for i in present if (i.kind, i.fingerprint) == (want.kind, want.fingerprint)]
        stop += [i for i in present if i not in fit] + fit[want.replicas :]
        start += _new(want, want.replicas - len(fit), present, fit, gone)
    for unwanted in by_component.values():
        stop += unwanted
    return Plan(tuple(start), tuple(stop))


def fingerprint(spec: ComponentBase) -> str:
    """A digest of what an instance is built from.

    What takes effect in an instance that runs is not part of it: its number, how it is swapped, what routers go by,
    and the amount of a price (whether there is one is: without, the service knows its own).
    """
    built_from = spec.model_dump_json(exclude=set(LIVE))
    return hashlib.sha256(f"{spec.price is None} {built_from}".encode()).hexdigest()[:16]


def _bounded(spec: ComponentBase, chosen: int | None) -> int:
    """A component that may sleep (min 0) starts awake: nothing is known yet about how much it is used."""
    if chosen is None:
        return max(1, spec.replicas.min)
    return min(max(chosen, spec.replicas.min), spec.replicas.max)


def _new(
    want: Wanted, count: int, present: list[Instance], fit: list[Instance], leaving: frozenset[str]
) -> list[Instance]:
    if count <= 0:
        return []
    taken = {i.name for i in present} | leaving
    newest = max((i.generation for i in present), default=0)
    generation = fit[0].generation if fit else newest + 1
    template = Instance(want.component, want.kind, "", generation, want.fingerprint)
    made: list[Instance] = []
    number = 0
    while len(made) < count:
        number += 1
        name = f"{want.component}-{number}"
        if name not in taken:
            made.append(replace(template, name=name))
    return made
