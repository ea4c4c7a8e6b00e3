"""The bus on NATS: core subjects for requests and streams, JetStream for what must survive.

One wildcard subscription serves all inboxes and requests of a process, so opening one costs no message. Errors of
nats-py never leave this module: they become ours.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import nats
import structlog
from nats.aio.client import NO_RESPONDERS_STATUS, Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    Header,
)
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError, NotFoundError, ObjectNotFoundError

from services.bus.nats_errors import TRANSLATED
from services.bus.nats_storage import ensure
from services.bus.port import MOST_PINGS, PING_S, SETTLING_S, Handler, Incoming, KvEntry, Subscription
from services.bus.returning import Returning
from services.contracts import subjects
from services.contracts.errors import (
    ComponentTimeout,
    ComponentUnavailable,
    ConfigError,
    NotAuthorized,
    NotFound,
    Overloaded,
    Unreached,
)

log = structlog.get_logger()

_REPLAY_BATCH = 500
_REPLAY_WAIT_S = 5.0
_REPLAY_IDLE_S = 30.0
_PENDING_BYTES = 64 * 1024 * 1024
_INBOXES = "_INBOX"
_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Login:
    """Who a process is to the server. Its inboxes bear its name, so that the server can keep others out of them."""

    user: str
    password: str = field(repr=False)

    @property
    def inboxes(self) -> str:
        """What the subjects of its inboxes begin with."""
        return f"{_INBOXES}.{self.user}"


class NatsInbox:
    """See `port.Inbox`."""

    def __init__(
        self, mux: dict[str, NatsInbox | asyncio.Future[bytes]], token: str, subject: str, capacity: int
    ) -> None:
        self._mux = mux
        self._token = token
        self.subject = subject
        self._unread: deque[bytes] = deque()
        self._capacity = capacity
        self._overflowed = False
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, data: bytes) -> None:
        """Put a message in; over capacity the inbox is spoilt for good."""
        if len(self._unread) >= self._capacity:
            self._overflowed = True
        else:
            self._unread.append(data)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> bytes:
        """See `port.Inbox.next`."""
        while not self._unread:
            if self._overflowed:
                raise Overloaded("the answer is read too slowly", retry_after_s=1.0)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._unread.popleft()

    def close(self) -> None:
        """See `port.Inbox.close`."""
        self._mux.pop(self._token, None)


class _NatsSubscription:
    def __init__(self, inner: NatsSubscription) -> None:
        self._inner = inner

    async def stop(self) -> None:
        with TRANSLATED:
            await self._inner.unsubscribe()


class NatsBus:
    """See `port.Bus`. Made by `connect`."""

    def __init__(self, client: Client, js: JetStreamContext, inboxes: str = _INBOXES) -> None:
        self._client = client
        self._js = js
        self._mux: dict[str, NatsInbox | asyncio.Future[bytes]] = {}
        self._tokens = itertools.count()
        self._prefix = f"{inboxes}.{secrets.token_hex(8)}"
        self._returning = Returning()
        self._settled_s = 0.0

    @property
    def max_payload_bytes(self) -> int:
        """See `port.Bus.max_payload_bytes`."""
        return self._client.max_payload

    @property
    def connected(self) -> bool:
        """See `port.Bus.connected`."""
        return self._client.is_connected

    @property
    def unsettled(self) -> bool:
        """See `port.Bus.unsettled`."""
        return not self._client.is_connected or time.monotonic() < self._settled_s

    def returned(self) -> asyncio.Future[None]:
        """See `port.Bus.returned`."""
        return self._returning.future()

    def come_back(self) -> None:
        """The connection stands again, and everything is subscribed as before."""
        self._settled_s = time.monotonic() + SETTLING_S
        self._returning.tell()

    async def start(self) -> None:
        """Subscribe to this process's inboxes."""

        async def dispatch(message: Msg) -> None:
            waiting = self._mux.get(message.subject[len(self._prefix) + 1 :])
            if isinstance(waiting, NatsInbox):
                waiting.offer(message.data)
            elif waiting is not None and not waiting.done():
                if message.headers and message.headers.get(Header.STATUS) == NO_RESPONDERS_STATUS:
                    waiting.set_exception(Unreached("nobody listens there"))
                else:
                    waiting.set_result(message.data)

        # The dispatcher only moves bytes, so the client's own queue stays short; each inbox has its own bound.
        await self._client.subscribe(
            f"{self._prefix}.*", cb=dispatch, pending_msgs_limit=1_000_000, pending_bytes_limit=512 * 1024**2
        )

    async def publish(self, subject: str, data: bytes) -> None:
        """See `port.Bus.publish`."""
        with TRANSLATED:
            await self._client.publish(subject, data)

    async def ask(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """See `port.Bus.ask`."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        return await self._ask_once(subject, data)
                    except ComponentUnavailable:
                        if not self.unsettled:
                            raise
                    await asyncio.sleep(_AGAIN_S)
        except TimeoutError as error:
            raise ComponentTimeout(f"no answer in {timeout_s:.1f} s") from error

    async def _ask_once(self, subject: str, data: bytes) -> bytes:
        token = f"{next(self._tokens):x}"
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._mux[token] = answer
        try:
            with TRANSLATED:
                await self._client.publish(subject, data, reply=f"{self._prefix}.{token}")
            return await answer
        finally:
            del self._mux[token]

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> Subscription:
        """See `port.Bus.subscribe`."""

        async def receive(message: Msg) -> None:
            await handler(Incoming(message.subject, message.data, message.reply))

        with TRANSLATED:
            return _NatsSubscription(await self._client.subscribe(subject, queue=queue, cb=receive))

    def inbox(self, capacity: int = 4096) -> NatsInbox:
        """See `port.Bus.inbox`."""
        token = f"{next(self._tokens):x}"
        inbox = NatsInbox(self._mux, token, f"{self._prefix}.{token}", capacity)
        self._mux[token] = inbox
        return inbox

    async def record(self, subject: str, data: bytes) -> None:
        """See `port.Bus.record`."""
        with TRANSLATED:
            await self._js.publish(subject, data)

    async def recall(self, subject: str) -> bytes | None:
        """See `port.Bus.recall`."""
        with TRANSLATED:
            try:
                message = await self._js.get_last_msg(subjects.DECISION_STREAM, subject, direct=True)
            except NotFoundError:
                return None
            return message.data

    async def replay(self, subject: str) -> AsyncIterator[bytes]:
        """See `port.Bus.replay`."""
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, inactive_threshold=_REPLAY_IDLE_S
        )
        with TRANSLATED:
            reading = await self._js.pull_subscribe(subject, config=config)
        try:
            with TRANSLATED:
                left = (await reading.consumer_info()).num_pending or 0
            while left > 0:
                with TRANSLATED:
                    messages = await reading.fetch(min(left, _REPLAY_BATCH), timeout=_REPLAY_WAIT_S)
                left -= len(messages)
                for message in messages:
                    yield message.data
        finally:
            with TRANSLATED:
                await reading.unsubscribe()

    async def kv_put(self, bucket: str, key: str, value: bytes, *, after: int | None = None) -> int:
        """See `port.Bus.kv_put`."""
        with TRANSLATED:
            store = await self._js.key_value(bucket)
            if after is None:
                return await store.put(key, value)
            try:
                return await store.update(key, value, last=after)
            except KeyWrongLastSequenceError as error:
                raise ConfigError(f"revision {after} of {key} is not the newest any more") from error

    async def kv_get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        """See `port.Bus.kv_get`."""
        with TRANSLATED:
            try:
                entry = await (await self._js.key_value(bucket)).get(key)
            except KeyNotFoundError:
                return None
            return entry.value or b"", entry.revision or 0

    async def kv_history(self, bucket: str, key: str) -> tuple[KvEntry, ...]:
        """See `port.Bus.kv_history`."""
        with TRANSLATED:
            try:
                entries = await (await self._js.key_value(bucket)).history(key)
            except NoKeysError:
                return ()
            return tuple(KvEntry(e.value or b"", e.revision or 0, _seconds(e.created)) for e in entries)

    async def blob_put(self, data: bytes) -> str:
        """See `port.Bus.blob_put`."""
        name = secrets.token_hex(16)
        with TRANSLATED:
            store = await self._js.object_store(subjects.BLOB_BUCKET)
            await store.put(name, data)
        return name

    async def blob_get(self, name: str) -> bytes:
        """See `port.Bus.blob_get`."""
        with TRANSLATED:
            store = await self._js.object_store(subjects.BLOB_BUCKET)
            try:
                return (await store.get(name)).data or b""
            except ObjectNotFoundError as error:
                raise NotFound(f"blob {name} has expired") from error

    async def blob_delete(self, name: str) -> None:
        """See `port.Bus.blob_delete`."""
        with TRANSLATED:
            store = await self._js.object_store(subjects.BLOB_BUCKET)
            try:
                await store.delete(name)
            except ObjectNotFoundError:
                log.debug("blob_already_gone", name=name)

    async def flush(self) -> None:
        """See `port.Bus.flush`.

        nats-py writes its PING at once, before what still waits to be written. The first answer says that this has been
        written since; the second one that the server has read it. Source: the same defect in the client before it,
        https://github.com/nats-io/nats.py2/pull/24.
        """
        with TRANSLATED:
            await self._client.flush()
            await self._client.flush()

    async def close(self) -> None:
        """See `port.Bus.close`."""
        if self._client.is_closed:
            return
        try:
            await self._client.flush(timeout=1)
        except (NatsError, OSError) as error:
            log.debug("bus_flush_at_close_failed", error=str(error))
        try:
            await self._client.close()
        except OSError as error:
            log.debug("bus_was_already_gone", error=str(error))

    async def ensure_storage(self, replicas: int = 1) -> None:
        """Create the streams and buckets that are missing; idempotent."""
        with TRANSLATED:
            await ensure(self._js, replicas)


async def connect(
    servers: str,
    *,
    name: str,
    login: Login | None = None,
    on_reconnect: Callable[[], Awaitable[None]] | None = None,
    timeout_s: float = 10.0,
) -> NatsBus:
    """Connect and stay connected: after the first success it reconnects for ever.

    Args:
        servers: comma-separated `nats://[user:password@]host:port`.
        name: shown in the server's connection list.
        login: for a server that knows its users; None: the URL has all that is needed.
        on_reconnect: called after each reconnection; subscriptions are already re-established.
        timeout_s: how long to try the first time.

    Raises:
        ComponentUnavailable: no server answered in time.
        NotAuthorized: one did, and does not know us.
    """

    client: Client | None = None
    refused = False
    bus: NatsBus | None = None

    async def lost() -> None:
        if client is None or not client.is_closed:  # it is also called when we leave
            log.warning("bus_disconnected")

    async def back() -> None:
        log.info("bus_reconnected")
        if bus is not None:
            bus.come_back()
        if on_reconnect is not None:
            await on_reconnect()

    async def failed(error: Exception) -> None:
        nonlocal refused
        # nats-py has no type for it while connecting; the connection that ends with it may be told of after it
        refused = refused or "authorization violation" in str(error).lower()
        log.warning("bus_error", error=f"{type(error).__name__}: {error}")

    try:
        async with asyncio.timeout(timeout_s):
            client = await nats.connect(
                servers.split(","),
                name=name,
                disconnected_cb=lost,
                reconnected_cb=back,
                error_cb=failed,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,
                ping_interval=PING_S,
                max_outstanding_pings=MOST_PINGS,
                connect_timeout=2,
                pending_size=_PENDING_BYTES,
                # Every subject is ours (contracts/subjects.py), built from validated names.
                skip_subject_validation=True,
                user=login.user if login else None,
                password=login.password if login else None,
                inbox_prefix=login.inboxes if login else _INBOXES,
            )
    except (TimeoutError, NatsError, OSError) as error:
        where = _without_secrets(servers)
        if refused:
            raise NotAuthorized(f"the NATS server at {where} refuses this user or its password") from error
        raise ComponentUnavailable(f"no NATS server at {where}") from error
    bus = NatsBus(client, client.jetstream(timeout=5.0), login.inboxes if login else _INBOXES)
    await bus.start()
    return bus


def _seconds(created: object) -> float:
    """The time of an entry; nats-py gives a datetime, whatever its annotation says."""
    return created.timestamp() if isinstance(created, datetime) else 0.0


def _without_secrets(servers: str) -> str:
    return ",".join(part.rpartition("@")[2] for part in servers.split(","))


@asynccontextmanager
async def connected(servers: str, *, name: str, login: Login | None = None) -> AsyncIterator[NatsBus]:
    """`connect`, closed at the end."""
    bus = await connect(servers, name=name, login=login)
    try:
        yield bus
    finally:
        await bus.close()
