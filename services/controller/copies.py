"""What the keeper asks of an engine: copies of the templates that a deployment declared, and nothing else it has.

How an instance is written into such a copy, and read from it again, is the same for every engine. All but the port is
pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from services.contracts.errors import NotFound
from services.contracts.keeper import Ended, Instance
from services.controller.lines import read_line

TEMPLATE = "turnout.template"
"""The label by which a deployment declares what may be copied."""
INSTANCE = "turnout.instance"
"""The label of a copy, and of nothing else: the name of the instance in it."""
LAST_LINES = 20


class Copies(Protocol):
    """An engine, as far as the keeper goes. Every call raises `ComponentUnavailable` when the engine refuses."""

    async def running(self) -> dict[str, Instance]:
        """The copies whose end has not been told yet, by the name of their instance."""
        ...

    async def run(self, instance: Instance) -> None:
        """Run one that is not among the running.

        Raises:
            NotFound: the deployment declares no template for its component.
        """
        ...

    async def let(self, name: str, now: bool) -> None:
        """Ask one that runs to finish what it does and end; with `now`, as soon as the engine can end it."""
        ...

    async def ended(self, name: str) -> Ended:
        """Wait for the end of one, which may have ended already; then remove what is left of it."""
        ...


def undeclared(component: str) -> NotFound:
    """The error of `Copies.run`."""
    return NotFound(f"components.{component}: the deployment declares no container for it")


def environment(template: Iterable[str], instance: Instance) -> list[str]:
    """The template's environment, and who this copy is."""
    own = {
        "TURNOUT_INSTANCE": instance.name,
        "TURNOUT_GENERATION": str(instance.generation),
        "TURNOUT_STANDBY": "1" if instance.standby else "0",
    }
    return [e for e in template if e.partition("=")[0] not in own] + [f"{name}={value}" for name, value in own.items()]


def labels(template: Mapping[str, str], instance: Instance) -> dict[str, str]:
    """The template's labels, without the one that makes it a template, and those that `read` reads."""
    return {name: value for name, value in template.items() if name != TEMPLATE} | {
        INSTANCE: instance.name,
        "turnout.component": instance.component,
        "turnout.kind": instance.kind,
        "turnout.generation": str(instance.generation),
        "turnout.fingerprint": instance.fingerprint,
    }


def read(labels: Mapping[str, str]) -> Instance:
    """The instance in a copy."""
    component, kind, fingerprint = (labels[f"turnout.{field}"] for field in ("component", "kind", "fingerprint"))
    return Instance(component, kind, labels[INSTANCE], int(labels["turnout.generation"]), fingerprint)


def last_words(lines: Iterable[str]) -> str:
    """Why it ended: the reason it gave, else the last that it said."""
    said = [read_line(line) for line in lines if line.strip()]
    reasons = [line.reason for line in said if line.reason]
    return (reasons or [line.text for line in said] or [""])[-1]
