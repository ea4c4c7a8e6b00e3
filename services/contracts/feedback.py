"""How good an answer was, as told afterwards: by whoever got it, or by a check that needs nobody.

It names the way the answer came about and what had been predicted of it, so that a router can learn from it without
looking anything up, and again after a restart.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Source = Literal["client", "schema", "verified", "retried"]
"""`client`: somebody said so. `schema`: the answer is not in the form that was asked for; only misfits are told, so it
teaches by as much as there are more of them than bad answers were expected (`weight`). `verified`: the estimate of a
cascade's verifier. `retried`: the same was asked again, more often than of other ways; it lowers what is expected, or
changes nothing."""


class Feedback(msgspec.Struct, frozen=True, omit_defaults=True):
    """A verdict on one answer.

    Attributes:
        quality: 0 (useless) to 1 (good).
        steps, model: the way that was taken, and the model at its end.
        prior: what the predictor alone had said of it; None where it was not asked: nothing can be learnt from it then.
        at_s: seconds since the epoch.
        weight: how much it counts beside the word of a client, which counts 1; of 0 it teaches nothing.
    """

    decision_id: str
    quality: float
    steps: tuple[str, ...]
    model: str
    at_s: float
    prior: float | None = None
    source: Source = "client"
    weight: float = 1.0


FEEDBACK_DECODER = msgspec.msgpack.Decoder(Feedback)
