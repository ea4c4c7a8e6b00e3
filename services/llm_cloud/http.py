"""One question to the upstream: sent, tried again while nothing has come back, and its body read within limits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import structlog

from services.contracts.errors import (
    ComponentTimeout,
    ComponentUnavailable,
    TurnoutError,
    UpstreamError,
)
from services.llm_cloud.backoff import LONGEST_WAIT_S, parse_retry_after, pause_s
from services.llm_cloud.breaker import Breaker, Permit
from services.llm_cloud.refusal import Refusal, read_told, refusal
from services.llm_cloud.transport import Dropped

log = structlog.get_logger()

_MAX_REFUSAL_BYTES = 64 * 1024
_DRAIN_S = 1.0
_OK = 200
JSON, STREAM = "application/json", "text/event-stream"


class Reply:
    """An answer that has begun: status 200 and the right content type.

    Say `worked()` or `failed()` once it is known which; closing without a word means that nothing was learned.
    """

    def __init__(self, response: httpx.Response, breaker: Breaker, permit: Permit) -> None:
        self._response = response
        self._breaker = breaker
        self._permit: Permit | None = permit
        self._pieces = _pieces(response)
        self._read_bytes = 0

    async def read(self, max_bytes: int) -> bytes:
        """What has arrived of the body, empty at its end.

        Raises:
            UpstreamError: it is larger than `max_bytes`, or the connection broke.
            ComponentTimeout: the upstream fell silent.
        """
        try:
            piece = await anext(self._pieces, b"")
        except httpx.TransportError as error:
            raise _meaning(error).error from error
        self._read_bytes += len(piece)
        if self._read_bytes > max_bytes:
            raise UpstreamError(f"the upstream's answer is larger than {max_bytes} bytes")
        return piece

    async def drain(self) -> None:
        """Let the last bytes behind the terminal marker arrive, so that the connection can serve again."""
        try:
            async with asyncio.timeout(_DRAIN_S):
                while await anext(self._pieces, b""):
                    pass
        except (TimeoutError, httpx.TransportError):
            return  # then it cannot serve again, which costs a new connection and no more

    def worked(self) -> None:
        """The upstream answers."""
        if self._permit is not None:
            self._breaker.success(self._permit)
            self._permit = None

    def failed(self, reason: str) -> None:
        """The upstream broke its answer off, or it makes no sense."""
        if self._permit is None:  # it had worked until then
            self._permit = self._breaker.again()
        self._breaker.failure(self._permit, reason)
        self._permit = None

    async def aclose(self) -> None:
        """Close; an answer that is not complete ends the connection at once."""
        if self._permit is not None:
            self._breaker.forget(self._permit)
            self._permit = None
        await self._response.aclose()


class Upstream:
    """Sends requests to one URL.

    Args:
        transport: carries them.
        url: where to.
        breaker: asked before each attempt and told after it.
        retries: attempts after the first, while nothing of an answer has come.
        connect_timeout_s: for a connection, TLS included.
        read_timeout_s: longest silence.
        sleep: waits, seconds.
        luck: uniform in 0..1.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        url: httpx.URL,
        breaker: Breaker,
        *,
        retries: int,
        connect_timeout_s: float,
        read_timeout_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._transport = transport
        self._url = url
        self._breaker = breaker
        self._retries = retries
        self._extensions = {
            "timeout": {
                "connect": connect_timeout_s,
                "read": read_timeout_s,
                "write": read_timeout_s,
                "pool": connect_timeout_s,
            }
        }
        self._sleep = sleep
        self._luck = luck
        self.retried = 0

    async def open(self, headers: httpx.Headers, body: bytes, mime: str, deadline_s: float) -> Reply:
        """Ask, and return once an answer of content type `mime` has begun.

        Args:
            headers: of the request.
            body: of the request.
            mime: the content type that the answer must have.
            deadline_s: seconds since the epoch; no wait for another attempt outlasts it.

        Raises:
            TurnoutError: what the upstream's refusal, failure or silence means.
        """
        attempt = 0
        while True:
            permit = self._breaker.admit()
            try:
                found = await self._attempt(headers, body, mime)
            except BaseException:
                self._breaker.forget(permit)
                raise
            if isinstance(found, httpx.Response):
                return Reply(found, self._breaker, permit)
            error, again, sick, after_s = found
            if sick:
                self._breaker.failure(permit, error.message)
            elif again:
                self._breaker.forget(permit)
            else:
                self._breaker.success(permit)  # it looked at the request, so it lives
            wait_s = pause_s(attempt, after_s, self._luck())
            late = wait_s > LONGEST_WAIT_S or time.time() + wait_s >= deadline_s
            if not again or late or attempt >= self._retries or self._breaker.state == "open":
                raise error
            log.info("retry", attempt=attempt + 1, wait_s=round(wait_s, 3), because=type(error).__name__)
            self.retried += 1
            attempt += 1
            await self._sleep(wait_s)

    async def _attempt(self, headers: httpx.Headers, body: bytes, mime: str) -> httpx.Response | Refusal:
        request = httpx.Request("POST", self._url, headers=headers, content=body, extensions=self._extensions)
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            return _meaning(error)
        try:
            problem = await _problem(response, mime)
        except BaseException:
            await response.aclose()
            raise
        if problem is not None:
            await response.aclose()
            return problem
        return response


def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it arrives, undecoded: `httpx` would unpack it and hold all of it."""
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - async transports give no other
    return aiter(stream)


async def _problem(response: httpx.Response, mime: str) -> Refusal | None:
    """What is wrong with a response whose head has come; None if it is an answer."""
    given = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code != _OK:
        told = read_told(await _bounded(response)) if given.endswith("json") else read_told(b"")
        after_s = parse_retry_after(response.headers.get("retry-after"), time.time())
        return refusal(response.status_code, told, after_s)
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":  # we asked for none; what would unpack it would have to guard against bombs
        return Refusal(UpstreamError("the upstream's answer is compressed, unasked"), again=False, sick=True)
    if given != mime:
        said = given[:64] if given.isascii() and given.isprintable() and given else "no content type"
        return Refusal(UpstreamError(f"the upstream answered with {said} instead of {mime}"), again=False, sick=True)
    return None


async def _bounded(response: httpx.Response) -> bytes:
    """The beginning of a refusal's body; how it ends is of no interest."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(2.0):
            async for piece in _pieces(response):
                parts.append(piece)
                size += len(piece)
                if size > _MAX_REFUSAL_BYTES:
                    break
    except (httpx.TransportError, TimeoutError):
        log.info("refusal_cut_off", status=response.status_code)
    return b"".join(parts)


def _meaning(error: httpx.TransportError) -> Refusal:
    """What a failure of the connection means. Before the first byte it may be worth another attempt."""
    mapped: TurnoutError
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        mapped = ComponentTimeout(f"the upstream is too slow: {error}")
        return Refusal(mapped, again=False, sick=True)  # the time it took is gone; another attempt would double it
    if isinstance(error, Dropped):  # ending an idle connection is anyone's right, and no sign of ill health
        return Refusal(UpstreamError(f"the upstream failed: {error}"), again=True, sick=False)
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.PoolTimeout | httpx.ProxyError):
        mapped = ComponentUnavailable(f"the upstream cannot be reached: {error}")
    else:
        mapped = UpstreamError(f"the upstream failed: {error}")
    return Refusal(mapped, again=True, sick=True)
