"""The `llm_cloud` component: a model behind someone's HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import structlog

from services.contracts.beat import Capability
from services.contracts.catalog import Component, LlmCloud
from services.contracts.errors import (
    ComponentTimeout,
    ComponentUnavailable,
    ConfigError,
    TurnoutError,
    Unsupported,
    UpstreamError,
)
from services.contracts.events import Event
from services.contracts.messages import ChatRequest, Sampling, Task
from services.contracts.price import Price
from services.llm_cloud import anthropic_protocol, openai_protocol
from services.llm_cloud.breaker import Breaker
from services.llm_cloud.dialect import Dialect, Images
from services.llm_cloud.http import JSON, STREAM, Reply, Upstream
from services.llm_cloud.prices import price_of
from services.llm_cloud.reading import PlainReading, Reading, StreamReading
from services.llm_cloud.secret import Secret
from services.llm_cloud.tally import Tally
from services.llm_cloud.transport import make_transport
from services.worker.service import Description, Job, Surroundings

log = structlog.get_logger()

# A model that refuses one of these is asked again without it: to the router, too, they are wishes.
_SOFT = frozenset({"temperature", "top_p", "max_tokens", "max_completion_tokens"})
_NO_WISHES = Sampling()
_MAX_PORT = 65_535
_HEADERS = [
    ("content-type", JSON),
    ("accept", f"{JSON}, {STREAM}"),
    ("accept-encoding", "identity"),
    ("user-agent", "turnout"),
]


class CloudService:
    """See `services.worker.service.Service`.

    Args:
        spec: the catalog section.
        around: the bus, for images, and the folder that key files are relative to.
        breaker: of this upstream; tests bring one whose clock they own.
        sleep: waits between attempts, seconds.
    """

    def __init__(
        self,
        spec: LlmCloud,
        around: Surroundings,
        *,
        breaker: Breaker | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._spec = spec
        self._around = around
        self._secret = Secret(spec.key, around.base_dir)
        self._breaker = breaker or Breaker()
        self._sleep = sleep
        self._dialect, vendor_url = _dialect(spec)
        self._base_url = spec.base_url or vendor_url
        self._capabilities = _capabilities(spec)
        self._price = Price()
        self._headers = httpx.Headers()
        self._key_version = -1
        self._refused: frozenset[str] = frozenset()
        self._transport: httpx.AsyncBaseTransport | None = None
        self._upstream: Upstream | None = None

    async def start(self) -> None:
        """Look the price up and make ready to connect; nothing is sent.

        Raises:
            ConfigError: `base_url` or the environment's proxy cannot be used.
        """
        url = _checked(self._base_url)
        if self._spec.key is not None and url.scheme == "http" and not self._spec.local:
            log.warning("key_in_the_clear", base_url=self._base_url, advice="use https, or set local: true")
        self._price = await asyncio.to_thread(price_of, self._spec, self._base_url)
        self._transport = make_transport(url, self._spec.slots)
        self._upstream = Upstream(
            self._transport,
            url.copy_with(raw_path=url.raw_path.rstrip(b"/") + self._dialect.path.encode("ascii")),
            self._breaker,
            retries=self._spec.retries,
            connect_timeout_s=self._spec.connect_timeout_s,
            read_timeout_s=self._spec.read_timeout_s,
            sleep=self._sleep,
        )
        self._authorize()
        if self._secret.missing:
            log.warning("unconfigured", reason=self._secret.missing)

    def describe(self) -> Description:
        """See `Service.describe`. A key file that has come or gone is noticed here."""
        self._secret.value()
        missing = self._secret.missing
        is_open = self._breaker.state == "open"
        left_alone = ""
        if is_open:
            because = self._secret.scrub(self._breaker.reason)
            left_alone = f"left alone for {self._breaker.retry_after_s:.0f} s: {because}"
        return Description(
            model=self._spec.model,
            capabilities=self._capabilities,
            params=self._dialect.params,
            context_tokens=self._spec.context_tokens,
            local=self._spec.local,
            price=self._price,
            facts={"circuit_open": float(is_open), "retries": float(self._upstream.retried if self._upstream else 0)},
            state="unconfigured" if missing else "ready",
            detail=missing or left_alone,
        )

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        """See `Service.run`."""
        request = task.request
        if not isinstance(request, ChatRequest):
            raise Unsupported(f"{self._around.component} can only chat")
        self._check(request)
        tally = Tally(request, job)
        reply: Reply | None = None
        try:
            images = await self._fetch(request)
            reply = await self._open(request, images, task.deadline_s)
            kind = StreamReading if request.stream else PlainReading
            reading: Reading = kind(reply, self._dialect, request)
            while not tally.complete:
                for event in await reading.more():
                    tally.add(event)
                    yield event
        except TurnoutError as error:
            self._note(error, reply, tally)
            raise self._safe(error) from None  # the chain would carry the unscrubbed text into a traceback
        finally:
            tally.close()
            if reply is not None:
                if tally.complete and request.stream:
                    await reply.drain()
                await reply.aclose()

    async def stop(self) -> None:
        """See `Service.stop`."""
        if self._transport is not None:
            await self._transport.aclose()

    def _check(self, request: ChatRequest) -> None:
        """Refuse what cannot be honoured. The router knows it too, but a component's name may be pinned."""
        missing = None
        if request.tools and not self._spec.tools:
            missing = "tools"
        elif request.response_format.type != "text" and not self._spec.json_schema:
            missing = "response_format"
        elif not self._spec.images and request.images:
            missing = "messages"
        elif request.sampling != _NO_WISHES:
            missing = _unhonoured(request.sampling, self._dialect.params)
        if missing is not None:
            raise Unsupported(f"{self._around.component} does not support {missing}", param=missing)

    async def _fetch(self, request: ChatRequest) -> Images:
        """The bytes of the images that travel beside the request."""
        refs = {image.blob.sha256: image.blob.ref for image in request.images if image.blob.ref is not None}
        if not refs:
            return {}
        found = await asyncio.gather(*(self._around.bus.blob_get(ref) for ref in refs.values()))
        return dict(zip(refs, found, strict=True))

    async def _open(self, request: ChatRequest, images: Images, deadline_s: float) -> Reply:
        """Ask; a model that refuses a wish is asked again without it, and not bothered with it any more."""
        upstream = self._upstream
        headers = self._authorize()
        if upstream is None or self._secret.missing:
            raise ComponentUnavailable(self._secret.missing or f"{self._around.component} has not started")
        while True:
            body = self._dialect.body(request, images, self._refused)
            try:
                return await upstream.open(headers, body, STREAM if request.stream else JSON, deadline_s)
            except Unsupported as error:
                if error.param not in _SOFT or error.param in self._refused:
                    raise
                log.info("wish_refused", model=self._spec.model, param=error.param)
                self._refused |= {error.param}

    def _authorize(self) -> httpx.Headers:
        """The headers with the key of now."""
        key = self._secret.value()
        if self._secret.version != self._key_version:
            if self._key_version >= 0:
                log.info("key_changed")
                self._breaker.reset()  # what the old key could not do, the new one may
            self._key_version = self._secret.version
            self._headers = httpx.Headers([*_HEADERS, *self._dialect.headers(key)])
        return self._headers

    def _note(self, error: TurnoutError, reply: Reply | None, tally: Tally) -> None:
        """What a failure says of the upstream's health, and of what it will charge."""
        if reply is None:
            tally.charged = isinstance(error, ComponentTimeout)  # it was asked, and may still be at work
        elif isinstance(error, UpstreamError | ComponentTimeout):
            reply.failed(error.message)

    def _safe(self, error: TurnoutError) -> TurnoutError:
        """The same error without secrets: vendors quote keys in their messages."""
        message = self._secret.scrub(error.message)
        log.info("failed", error=type(error).__name__, message=message)
        return type(error)(message, param=error.param, retry_after_s=error.retry_after_s)


def build(spec: Component, around: Surroundings) -> CloudService:
    """The service of a catalog section.

    Raises:
        ConfigError: the section is another kind's.
    """
    if not isinstance(spec, LlmCloud):
        raise ConfigError(f"{around.component} is a {spec.kind}, not an llm_cloud")
    return CloudService(spec, around)


def _dialect(spec: LlmCloud) -> tuple[Dialect, str]:
    """How to speak to the upstream, and where its vendor listens."""
    if spec.protocol == "anthropic":
        return anthropic_protocol.Anthropic(spec.model, spec.max_output_tokens), anthropic_protocol.VENDOR_URL
    vendor_url = openai_protocol.VENDOR_URL
    vendor = spec.base_url is None or spec.base_url.startswith(vendor_url)
    return openai_protocol.OpenAi(spec.model, vendor=vendor, logprobs=spec.logprobs), vendor_url


def _capabilities(spec: LlmCloud) -> tuple[Capability, ...]:
    flags: dict[Capability, bool] = {
        "chat": True,
        "tools": spec.tools,
        "json": spec.json_schema,
        "image": spec.images,
        "logprobs": spec.logprobs and spec.protocol == "openai",
    }
    return tuple(name for name, able in flags.items() if able)


def _unhonoured(sampling: Sampling, params: tuple[str, ...]) -> str | None:
    """The first parameter that is set and not among `params`, or None."""
    for name in sampling.__struct_fields__:
        if name not in params and getattr(sampling, name) != getattr(_NO_WISHES, name):
            return name
    return None


def _checked(base_url: str) -> httpx.URL:
    """The URL, if requests can go there."""
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigError(f"base_url {base_url!r} is not a URL") from error
    if url.userinfo or url.query or url.fragment:
        raise ConfigError("base_url must have no user, query or fragment; a key belongs in `key`")
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 1) <= _MAX_PORT:
        raise ConfigError(f"base_url {base_url!r} must be http(s)://host[:port]/path")
    return url
