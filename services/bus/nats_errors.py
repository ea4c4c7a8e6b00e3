"""nats-py's errors as ours: `with TRANSLATED:`."""

from __future__ import annotations

from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.errors import APIError

from services.contracts.errors import ComponentTimeout, ComponentUnavailable, PayloadTooLarge, Unreached


class _Translated:
    """Turns nats-py's errors into ours. A class and not a generator: this is entered for every message."""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None or not isinstance(error, NatsError | OSError):
            return
        if isinstance(error, NoRespondersError):
            raise Unreached("nobody listens there") from error
        if isinstance(error, NatsTimeout):
            raise ComponentTimeout("no answer in time") from error
        if isinstance(error, MaxPayloadError):
            raise PayloadTooLarge("the message is larger than the bus takes") from error
        why = error.description if isinstance(error, APIError) else None  # the server's own words
        raise ComponentUnavailable(f"the bus failed: {why or type(error).__name__}") from error


TRANSLATED = _Translated()
