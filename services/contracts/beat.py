"""A worker's sign of life: everything the router and `turnout status` know about an instance."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.contracts.price import Price

BEAT_INTERVAL_S = 0.5
DEAD_AFTER_S = 1.6  # three beats missed, and found within 2 s of the moment that it stopped, on a busy machine too

Capability = Literal[
    "chat", "tools", "json", "image", "logprobs", "embed", "read", "search", "ingest", "answer", "resume"
]
"""What a component can do. `image` is a chat that sees; `read` turns an image into lines of text. `answer` takes a chat
request, but only from a caller who names it: a tool that replies, not a model that `auto` may choose. `resume` goes on
with an answer that another instance of the same model has begun."""

State = Literal["starting", "standby", "ready", "draining", "failed", "unconfigured", "asleep"]
"""`standby`: loaded, and works for whoever addresses it, but no router sends it anything yet. `asleep`: no instance of
the component runs; the router's own mark on the last beat it remembers, never sent."""


class Totals(msgspec.Struct, frozen=True, omit_defaults=True):
    """Counts since the process started."""

    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


class Speed(msgspec.Struct, frozen=True, omit_defaults=True):
    """Recent times of an instance, exponentially weighted. Zero until something has been measured.

    `service_s` is the time in a slot, `waited_s` that in the queue before it.
    """

    service_s: float = 0.0
    first_event_s: float = 0.0
    waited_s: float = 0.0


class Beat(msgspec.Struct, frozen=True, omit_defaults=True):
    """One instance, now. `local` means that nothing leaves the user's machines.

    Attributes:
        since_s: when it came into its state, seconds since the epoch; 0 where it does not say.
        share: of the component's requests that its generation takes while an older one serves too, 0..1.
    """

    component: str
    kind: str
    instance: str
    generation: int
    pid: int
    host: str
    state: State
    model: str = ""
    detail: str = ""
    capabilities: tuple[Capability, ...] = ()
    params: tuple[str, ...] = ()
    context_tokens: int | None = None
    local: bool = True
    slots: int = 1
    in_use: int = 0
    queued: int = 0
    queue_max: int = 0
    price: Price = Price()
    speed: Speed = Speed()
    totals: Totals = Totals()
    facts: dict[str, float] = {}
    started_s: float = 0.0
    since_s: float = 0.0
    share: float = 1.0


BEAT_DECODER = msgspec.msgpack.Decoder(Beat)
