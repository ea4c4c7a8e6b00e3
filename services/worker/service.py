"""What a component kind has to bring: a `Service`. The runtime around it does the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from services.bus.port import Bus
from services.bus.roster import Roster
from services.contracts.beat import Capability, State
from services.contracts.events import Event, Usage
from services.contracts.messages import Task
from services.contracts.price import Price


@dataclass(frozen=True)
class Description:
    """What a service says of itself once it has started.

    Attributes:
        model: human-readable name of what answers.
        capabilities: hard facts the router filters by.
        params: sampling and other request parameters it honours beyond the common ones.
        price: None when the service reports its own costs (an agent adds up those beneath it).
        facts: numbers worth showing and exporting, such as documents held; read afresh for every beat.
        state: `ready`, or `unconfigured` with the reason in `detail`.
    """

    model: str
    capabilities: tuple[Capability, ...]
    params: tuple[str, ...] = ()
    context_tokens: int | None = None
    local: bool = True
    price: Price | None = Price()
    facts: dict[str, float] = field(default_factory=dict)
    state: State = "ready"
    detail: str = ""


@dataclass
class Job:
    """The running of one task, as its service sees it.

    Attributes:
        spent: tokens used so far. Keep it current, so that a failed or cancelled job is charged for what it took.
    """

    task: Task
    spent: Usage = Usage()


@dataclass(frozen=True)
class Surroundings:
    """What a service may use of the world: the bus, and the view of who is alive (None unless it asked for one)."""

    bus: Bus
    component: str
    instance: str
    base_dir: str = "."
    roster: Roster | None = None


class Service(Protocol):
    """A component kind. One instance per process."""

    async def start(self) -> None:
        """Load models and open files.

        Raises:
            ConfigError: it can never work as configured; the process ends and says why.
        """
        ...

    def describe(self) -> Description:
        """The state of things now. Called for every beat, so it must be cheap."""
        ...

    def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        """Do the task: an async generator that ends with `Finished`.

        Closed early when the caller leaves or the deadline passes; free everything in `finally`.

        Raises:
            TurnoutError: with `retryable` set if another component may succeed.
        """
        ...

    async def stop(self) -> None:
        """Release everything. Nothing runs any more."""
        ...
