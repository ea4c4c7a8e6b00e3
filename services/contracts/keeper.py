"""What the controller asks of the keeper of containers, and what that tells. The keeper alone reaches the engine.

This is the whole of what can be had through it: more of, or less of, what the deployment declared as a template.
"""

from __future__ import annotations

import msgspec


class Instance(msgspec.Struct, frozen=True, omit_defaults=True):
    """One process that runs, or is to, in a container or not. `name` is unique among all that run at the same time.

    On stand-by, it is built from the catalog that is to come and no router sends it anything yet.
    """

    component: str
    kind: str
    name: str
    generation: int = 1
    fingerprint: str = ""
    standby: bool = False


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """Run this instance in a copy of its component's template. One that runs already is left as it is."""

    instance: Instance


class Let(msgspec.Struct, frozen=True, tag="let"):
    """Ask an instance to finish what it does and end; with `now` it is killed."""

    name: str
    now: bool = False


class Running(msgspec.Struct, frozen=True, tag="running"):
    """Say what runs."""


Wish = Keep | Let | Running


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """With `error` nothing was done; it says why."""

    error: str = ""
    running: tuple[Instance, ...] = ()


class Ended(msgspec.Struct, frozen=True, omit_defaults=True):
    """An instance has ended, with its exit code and, as far as it had any, its last words."""

    name: str
    code: int
    reason: str = ""


WISH_DECODER = msgspec.msgpack.Decoder(Wish)
ANSWER_DECODER = msgspec.msgpack.Decoder(Answer)
ENDED_DECODER = msgspec.msgpack.Decoder(Ended)
