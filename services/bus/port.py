"""The bus as the rest of the system sees it. `nats_bus` is the real one, `memory` the one for unit tests.

Both pass the same behaviour suite (tests/contract/test_bus.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that arrived. `reply` is where an answer is awaited, or empty."""

    subject: str
    data: bytes
    reply: str = ""


PING_S = 2
"""How often either end of a connection asks whether the other is there."""
MOST_PINGS = 2
"""Left without an answer; at the next one the connection is given up."""
SETTLING_S = 3.0
"""After the server has come back: until then everybody who listened before does again."""

Handler = Callable[[Incoming], Awaitable[None]]


class Subscription(Protocol):
    """Something that is being listened to."""

    async def stop(self) -> None:
        """Hear nothing more."""
        ...


class Inbox(Protocol):
    """A private address for the answers to one question. Cheap: no round trip to open or close it."""

    @property
    def subject(self) -> str:
        """The address to hand out."""
        ...

    def offer(self, data: bytes) -> None:
        """Put a message in from this side, behind those that have arrived. Lets one loop wait for several things."""
        ...

    async def next(self) -> bytes:
        """The next message, in the order its sender sent it.

        Raises:
            Overloaded: more messages waited here than the inbox holds; some are lost.
        """
        ...

    def close(self) -> None:
        """Stop listening; what still arrives is dropped."""
        ...


@dataclass(frozen=True, slots=True)
class KvEntry:
    """One value of a key. `created_s`: seconds since the epoch."""

    value: bytes
    revision: int
    created_s: float


class Bus(Protocol):
    """Subjects, requests, durable records and blobs."""

    @property
    def max_payload_bytes(self) -> int:
        """Largest message the server takes."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the server is there at this moment."""
        ...

    @property
    def unsettled(self) -> bool:
        """Whether the server is away or was until a moment ago: messages may be lost, and listeners not yet back."""
        ...

    def returned(self) -> asyncio.Future[None]:
        """A future that is done when the server is there again after it was away. Cancel it when it is of no use."""
        ...

    async def publish(self, subject: str, data: bytes) -> None:
        """Send and forget.

        Raises:
            ComponentUnavailable: the bus cannot take it now.
        """
        ...

    async def ask(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """Send and wait for one answer. While the bus is unsettled, wait for somebody to listen there, too.

        Raises:
            Unreached: nobody listens there. ComponentUnavailable: the bus is away.
            ComponentTimeout: no answer in time.
        """
        ...

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> Subscription:
        """Call `handler` for each message, one after the other; with `queue`, share them among its members.

        A handler that has more to do than note the message starts a task of its own.
        """
        ...

    def inbox(self, capacity: int = 4096) -> Inbox:
        """Open a private address that holds up to `capacity` unread messages."""
        ...

    async def record(self, subject: str, data: bytes) -> None:
        """Keep `data` durably as the last word on `subject`; returns when it is stored. Subscribers hear it, too."""
        ...

    async def recall(self, subject: str) -> bytes | None:
        """The last word on `subject`, or None."""
        ...

    def replay(self, subject: str) -> AsyncIterator[bytes]:
        """What has been recorded on the subjects that match (`*`, `>`), oldest first, and is kept until now."""
        ...

    async def kv_put(self, bucket: str, key: str, value: bytes, *, after: int | None = None) -> int:
        """Store a value and return its revision. With `after`, only if that is still the newest (0: none yet).

        Raises:
            ConfigError: someone else was faster; read again.
        """
        ...

    async def kv_get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        """The value and its revision, or None."""
        ...

    async def kv_history(self, bucket: str, key: str) -> tuple[KvEntry, ...]:
        """The values a key has had, oldest first, as far back as the bucket keeps them."""
        ...

    async def blob_put(self, data: bytes) -> str:
        """Keep bytes for a few minutes; returns their name."""
        ...

    async def blob_get(self, name: str) -> bytes:
        """The bytes of that name.

        Raises:
            NotFound: expired or never there.
        """
        ...

    async def blob_delete(self, name: str) -> None:
        """Forget them; a name that is gone is no error."""
        ...

    async def flush(self) -> None:
        """Return when the server has taken everything sent and subscribed so far."""
        ...

    async def close(self) -> None:
        """Send what is pending, then leave."""
        ...
