"""A bus inside one process, for unit tests. Same behaviour as the real one, no server."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from services.bus.port import Handler, Incoming, KvEntry, Subscription
from services.bus.returning import Returning
from services.contracts.errors import (
    ComponentTimeout,
    ComponentUnavailable,
    ConfigError,
    NotFound,
    Overloaded,
    Unreached,
)


def matches(pattern: str, subject: str) -> bool:
    """NATS subject matching: `*` is one token, a final `>` one or more."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(given) > index
        if index >= len(given) or part not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


@dataclass(eq=False)
class _Listener:
    owner: MemoryBus
    pattern: str
    handler: Handler
    queue: str
    pending: asyncio.Queue[Incoming] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        while True:
            await self.handler(await self.pending.get())

    async def stop(self) -> None:
        self.owner.forget(self)
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


class MemoryInbox:
    """See `port.Inbox`."""

    def __init__(self, bus: MemoryBus, subject: str, capacity: int) -> None:
        self._bus = bus
        self.subject = subject
        self._unread: deque[bytes] = deque()
        self._capacity = capacity
        self._overflowed = False
        self._wake = asyncio.Event()

    def offer(self, data: bytes) -> None:
        """Put a message in; over capacity the inbox is spoilt for good."""
        if len(self._unread) >= self._capacity:
            self._overflowed = True
        else:
            self._unread.append(data)
        self._wake.set()

    async def next(self) -> bytes:
        """See `port.Inbox.next`."""
        while not self._unread:
            if self._overflowed:
                raise Overloaded("the answer is read too slowly", retry_after_s=1.0)
            self._wake.clear()
            await self._wake.wait()
        return self._unread.popleft()

    def close(self) -> None:
        """See `port.Inbox.close`."""
        self._bus.inboxes.pop(self.subject, None)


class MemoryBus:
    """See `port.Bus`. Several "processes" share one instance."""

    max_payload_bytes = 1024 * 1024
    connected = True
    unsettled = False

    def __init__(self) -> None:
        self.returning = Returning()
        self.inboxes: dict[str, MemoryInbox] = {}
        self._listeners: list[_Listener] = []
        self._turn: defaultdict[tuple[str, str], itertools.count[int]] = defaultdict(itertools.count)
        self._names = itertools.count()
        self._records: dict[str, bytes] = {}
        self._kv: defaultdict[tuple[str, str], list[KvEntry]] = defaultdict(list)
        self._blobs: dict[str, bytes] = {}

    def forget(self, listener: _Listener) -> None:
        """Drop a listener."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def returned(self) -> asyncio.Future[None]:
        """See `port.Bus.returned`. A test tells by `returning`."""
        return self.returning.future()

    async def publish(self, subject: str, data: bytes) -> None:
        """See `port.Bus.publish`."""
        self._deliver(Incoming(subject, data))

    def _deliver(self, message: Incoming) -> int:
        if len(message.data) > self.max_payload_bytes:
            raise ComponentUnavailable(f"message of {len(message.data)} bytes is larger than the bus takes")
        if (inbox := self.inboxes.get(message.subject)) is not None:
            inbox.offer(message.data)
            return 1
        groups: defaultdict[tuple[str, str], list[_Listener]] = defaultdict(list)
        for index, listener in enumerate(self._listeners):
            if matches(listener.pattern, message.subject):
                groups[(listener.pattern, listener.queue or f"alone {index}")].append(listener)
        for key, members in groups.items():
            members[next(self._turn[key]) % len(members)].pending.put_nowait(message)
        return len(groups)

    async def ask(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """See `port.Bus.ask`."""
        inbox = self.inbox()
        try:
            if not self._deliver(Incoming(subject, data, inbox.subject)):
                raise Unreached(f"nobody listens on {subject}")
            async with asyncio.timeout(timeout_s):
                return await inbox.next()
        except TimeoutError as error:
            raise ComponentTimeout(f"no answer from {subject} in {timeout_s:.1f} s") from error
        finally:
            inbox.close()

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> Subscription:
        """See `port.Bus.subscribe`."""
        listener = _Listener(self, subject, handler, queue)
        listener.task = asyncio.create_task(listener.run())
        self._listeners.append(listener)
        return listener

    def inbox(self, capacity: int = 4096) -> MemoryInbox:
        """See `port.Bus.inbox`."""
        inbox = MemoryInbox(self, f"_INBOX.{next(self._names)}", capacity)
        self.inboxes[inbox.subject] = inbox
        return inbox

    async def record(self, subject: str, data: bytes) -> None:
        """See `port.Bus.record`."""
        self._records.pop(subject, None)
        self._records[subject] = data
        self._deliver(Incoming(subject, data))

    async def recall(self, subject: str) -> bytes | None:
        """See `port.Bus.recall`."""
        return self._records.get(subject)

    async def replay(self, subject: str) -> AsyncIterator[bytes]:
        """See `port.Bus.replay`."""
        for data in [data for name, data in self._records.items() if matches(subject, name)]:
            yield data

    async def kv_put(self, bucket: str, key: str, value: bytes, *, after: int | None = None) -> int:
        """See `port.Bus.kv_put`."""
        entries = self._kv[bucket, key]
        revision = entries[-1].revision if entries else 0
        if after is not None and after != revision:
            raise ConfigError(f"revision {after} of {key} is not the newest any more")
        entries.append(KvEntry(value, revision + 1, time.time()))
        return revision + 1

    async def kv_get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        """See `port.Bus.kv_get`."""
        entries = self._kv[bucket, key]
        return (entries[-1].value, entries[-1].revision) if entries else None

    async def kv_history(self, bucket: str, key: str) -> tuple[KvEntry, ...]:
        """See `port.Bus.kv_history`."""
        return tuple(self._kv[bucket, key])

    async def blob_put(self, data: bytes) -> str:
        """See `port.Bus.blob_put`."""
        name = f"blob-{next(self._names)}"
        self._blobs[name] = data
        return name

    async def blob_get(self, name: str) -> bytes:
        """See `port.Bus.blob_get`."""
        try:
            return self._blobs[name]
        except KeyError as error:
            raise NotFound(f"blob {name} has expired") from error

    async def blob_delete(self, name: str) -> None:
        """See `port.Bus.blob_delete`."""
        self._blobs.pop(name, None)

    async def flush(self) -> None:
        """See `port.Bus.flush`."""

    async def close(self) -> None:
        """See `port.Bus.close`."""
        for listener in tuple(self._listeners):
            await listener.stop()
