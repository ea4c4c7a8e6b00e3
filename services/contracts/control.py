"""What the controller is asked, what it answers, what it tells its instances, and what it reports as it goes."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.contracts.errors import ErrorInfo


class Apply(msgspec.Struct, frozen=True, tag="apply", omit_defaults=True):
    """Make this catalog the one in force.

    Attributes:
        text: of a `turnout.yaml`; name: what errors call it.
        after: only if this revision is still in force; None: whatever is.
    """

    text: str
    name: str = "turnout.yaml"
    after: int | None = None


class Rollback(msgspec.Struct, frozen=True, tag="rollback", omit_defaults=True):
    """Make an earlier catalog the one in force; None: the one before."""

    revision: int | None = None


class ScaleTo(msgspec.Struct, frozen=True, tag="scale"):
    """Run so many instances of a component, within its `replicas`."""

    component: str
    count: int


class Wake(msgspec.Struct, frozen=True, tag="wake"):
    """A request waits for a component that sleeps. Sent without waiting for an answer."""

    component: str


Command = Apply | Rollback | ScaleTo | Wake


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """The controller's answer. With `error` nothing has changed.

    Attributes:
        revision: of the catalog in force now.
        changes: what was done, a line each.
        swap_s: from the order to the moment the new instances served; load_s: of that, loading and probing.
        trial: what is tried on a share of the requests before it is in force, for a person; empty: nothing is.
    """

    revision: int = 0
    changes: tuple[str, ...] = ()
    swap_s: float = 0.0
    load_s: float = 0.0
    trial: str = ""
    error: ErrorInfo | None = None


class Happening(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened to what runs. `at_s`: seconds since the epoch."""

    at_s: float
    what: str
    text: str
    component: str = ""
    instance: str = ""
    generation: int = 0
    revision: int = 0


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """To one instance: begin to serve (it was started on stand-by), or finish what runs within `grace_s` and leave.

    Attributes:
        share: of the component's requests that it is to take with its generation while an older one serves too.
        hand_back: what waits for a slot goes back to its router: others serve it sooner.
    """

    do: Literal["serve", "drain"]
    grace_s: float = 0.0
    share: float = 1.0
    hand_back: bool = False


COMMAND_DECODER = msgspec.msgpack.Decoder(Command)
DONE_DECODER = msgspec.msgpack.Decoder(Done)
HAPPENING_DECODER = msgspec.msgpack.Decoder(Happening)
ORDER_DECODER = msgspec.msgpack.Decoder(Order)
