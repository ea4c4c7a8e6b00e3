"""One document to the gateway, with patience: a refusal that will pass is waited out, for so many tries and so long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from services.contracts.errors import ComponentUnavailable, Overloaded, TurnoutError
from services.controller.client import error_message

MAX_TRIES = 10
PATIENCE_S = 60.0
_PASSING = frozenset({Overloaded.status, ComponentUnavailable.status})
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0  # where the gateway does not say how long


class Busy(TurnoutError):
    """The gateway takes nothing now. It may later, so the same document can be sent again."""

    code = "busy"


@dataclass(frozen=True)
class Wait:
    """A pause before another try, as it is shown. `number` counts the tries made."""

    duration_s: float
    number: int
    reason: str


def deliver(send: Callable[[], httpx.Response], patience_s: float = PATIENCE_S) -> httpx.Response:
    """The response to a document: good, or a refusal that does not pass.

    Args:
        send: makes the request, and makes it again: ingesting the same document twice has the effect of once.
        patience_s: no pause begins that would outlast it; it also ends after `MAX_TRIES`.

    Raises:
        Busy: 429 or 503 to the last.
        httpx.TransportError: by kind.
    """
    give_up_s = time.monotonic() + patience_s

    def passes(error: Exception) -> bool | float:
        if not isinstance(error, Busy):
            return False
        wait_s = error.retry_after_s
        if wait_s is None:
            return time.monotonic() < give_up_s
        return wait_s if time.monotonic() + wait_s < give_up_s else False

    for attempt in stamina.retry_context(
        on=passes, attempts=MAX_TRIES, timeout=patience_s, wait_initial=_FIRST_WAIT_S, wait_max=_LONGEST_WAIT_S
    ):
        with attempt:
            response = send()
            if response.status_code in _PASSING:
                raise Busy(error_message(response), retry_after_s=_retry_after_s(response))
    return response


@contextmanager
def waits_shown(show: Callable[[Wait], None]) -> Iterator[None]:
    """Call `show` before each pause. Without it stamina would log them to standard output, among the answers."""

    def on_retry(details: RetryDetails) -> None:
        show(Wait(details.wait_for, details.retry_num, str(details.caused_by)))

    set_on_retry_hooks((on_retry,))
    try:
        yield
    finally:
        set_on_retry_hooks(None)


def _retry_after_s(response: httpx.Response) -> float | None:
    """The seconds of `Retry-After`; None where there is none, or a date, which gateways do not send.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None
