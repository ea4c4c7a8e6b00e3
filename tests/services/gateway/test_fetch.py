from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.catalog import Gateway
from services.contracts.errors import InvalidRequest, PayloadTooLarge
from services.gateway.addresses import is_public
from services.gateway.fetch import Fetcher, parse_url

PARAM = "messages[0].content[0].image_url.url"
_PNG = b"\x89PNG pretend"

_PRIVATE_V4 = [
    IPv4Network(n)
    for n in [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",
    ]
]
_private_v4 = st.sampled_from(_PRIVATE_V4).flatmap(
    lambda net: st.integers(int(net.network_address), int(net.broadcast_address)).map(IPv4Address)
)
_public_v4 = (
    st.integers(0, 2**32 - 1)
    .map(IPv4Address)
    .filter(lambda a: a.is_global and not any(a in n for n in [*_PRIVATE_V4, IPv4Network("192.88.99.0/24")]))
)
_EMBEDDINGS: list[Callable[[int], int]] = [
    lambda v4: (0xFFFF << 32) | v4,  # ::ffff:a.b.c.d
    lambda v4: (0x64FF9B << 96) | v4,  # 64:ff9b::a.b.c.d
    lambda v4: (0x2002 << 112) | (v4 << 80),  # 2002:abcd:efgh::
]


@settings(max_examples=300, deadline=None)
@given(_private_v4, st.sampled_from(_EMBEDDINGS))
def test_a_private_address_is_refused_in_every_disguise(address: IPv4Address, embed: Callable[[int], int]) -> None:
    assert not is_public(address)
    assert not is_public(IPv6Address(embed(int(address))))
    assert not is_public(IPv6Address(int(address)))  # the deprecated ::a.b.c.d


@settings(max_examples=300, deadline=None)
@given(_public_v4, st.sampled_from(_EMBEDDINGS))
def test_a_public_address_is_taken(address: IPv4Address, embed: Callable[[int], int]) -> None:
    assert is_public(str(address))
    assert is_public(IPv6Address(embed(int(address))))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_no_ipv6_address_outside_of_global_unicast_is_taken(address: IPv6Address) -> None:
    if is_public(address):
        embedded = address.ipv4_mapped is not None or int(address) >> 32 == 0x64FF9B << 64
        assert embedded or int(address) >> 125 == 1
        assert not address.is_private
        assert not address.is_multicast


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "fec0::1",
        "2001:db8::1",
        "64:ff9b:1::a00:1",
        "2001::1",
        "100::1",
        "::ffff:169.254.169.254",
        "100.100.100.200",
        "localhost",
        "",
    ],
)
def test_special_addresses_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://example.com/",
        "ftp://example.com/a.png",
        "//example.com/a.png",
        "http://",
        "http:///a.png",
        "http://user:pw@example.com/a.png",
        "http://example.com\\@127.0.0.1/",
        "http://exa mple.com/",
        "http://example.com/\r\nHost: evil",
        "http://[::1",
        "http://example.com:99999/",
        "http://" + "a" * 9000,
        "javascript:alert(1)",
        "http://\udcff/",
    ],
)
def test_urls_of_other_forms_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_url(url, PARAM)
    assert caught.value.param == PARAM


@asynccontextmanager
async def web(answer: bytes | Callable[[bytes], bytes]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """An HTTP server of few words: every connection gets `answer`. Yields its port and the heads it saw."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head)
            writer.write(answer if isinstance(answer, bytes) else answer(head))
            await writer.drain()
            if b"hang" in head:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()


def _ok(body: bytes = _PNG, kind: str = "image/png", more: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    made = Fetcher()
    yield made
    await made.close()


def _gateway(**more: object) -> Gateway:
    return Gateway.model_validate({"fetch_private_hosts": ["localhost"], "fetch_timeout_s": 2.0, **more})


async def test_an_allowed_host_is_fetched_under_its_own_name(fetcher: Fetcher) -> None:
    async with web(_ok()) as (port, heads):
        assert await fetcher.fetch(f"http://localhost:{port}/a.png?x=1", _gateway(), PARAM) == _PNG
    assert f"host: localhost:{port}".encode() in heads[0].lower()
    assert heads[0].startswith(b"GET /a.png?x=1 ")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "0",
        "169.254.169.254",
        "[::ffff:a9fe:a9fe]",
        "10.0.0.1",
    ],
)
async def test_private_hosts_are_never_connected_to(fetcher: Fetcher, host: str) -> None:
    async with web(_ok()) as (port, heads):
        with pytest.raises(InvalidRequest) as caught:
            await fetcher.fetch(f"http://{host}:{port}/", Gateway(), PARAM)
    assert caught.value.param == PARAM
    assert heads == []


async def test_a_name_that_also_resolves_to_a_private_address_is_refused(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolve(monkeypatch, [["93.184.215.14", "10.0.0.7"]])
    with pytest.raises(InvalidRequest, match="not public"):
        await fetcher.fetch("http://two-faced.example/a.png", Gateway(), PARAM)


async def test_a_name_that_changes_its_address_cannot_fool_us(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _resolve(monkeypatch, [["93.184.215.14"], ["127.0.0.1"]])
    seen: list[httpx.Request] = []

    async def send(self: httpx.AsyncClient, request: httpx.Request, **_: object) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, headers={"content-type": "image/png"}, stream=_Stream(), request=request)

    monkeypatch.setattr(httpx.AsyncClient, "send", send)
    await fetcher.fetch("https://rebinding.example/a.png", Gateway(), PARAM)
    (request,) = seen
    assert request.url.host == "93.184.215.14"
    assert request.headers["host"] == "rebinding.example"
    assert request.extensions["sni_hostname"] == "rebinding.example"  # whose certificate must be shown
    assert asked == ["rebinding.example"]


class _Stream(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield _PNG


def _resolve(monkeypatch: pytest.MonkeyPatch, answers: list[list[str]]) -> list[str]:
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        found = answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr("services.gateway.fetch.asyncio", _Asyncio(getaddrinfo))
    return asked


class _Asyncio:
    """The asyncio module with one function of the loop replaced: uvloop's own cannot be patched."""

    def __init__(self, getaddrinfo: object) -> None:
        self._getaddrinfo = getaddrinfo

    def __getattr__(self, name: str) -> object:
        if name == "get_running_loop":
            return lambda: self
        if name == "getaddrinfo":
            return self._getaddrinfo
        return getattr(asyncio, name)


async def test_redirects_are_followed_and_each_is_checked(fetcher: Fetcher) -> None:
    def answer(head: bytes) -> bytes:
        path = head.split()[1].decode()
        if path == "/a":
            return b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"
        if path == "/to-private":
            return b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/b\r\nContent-Length: 0\r\n\r\n" % port
        if path == "/to-file":
            return b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"
        if path == "/loop":
            return b"HTTP/1.1 307 Again\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n"
        return _ok()

    async with web(answer) as (port, heads):
        assert await fetcher.fetch(f"http://localhost:{port}/a", _gateway(), PARAM) == _PNG
        for path, reason in (("to-private", "not public"), ("to-file", "must be http"), ("loop", "redirects more")):
            heads.clear()
            with pytest.raises(InvalidRequest, match=reason):
                await fetcher.fetch(f"http://localhost:{port}/{path}", _gateway(), PARAM)
            assert len(heads) == (4 if path == "loop" else 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", InvalidRequest),
        (_ok(kind="text/html"), InvalidRequest),
        (_ok(b"x" * 5000), PayloadTooLarge),
        (_ok(more="Content-Encoding: gzip\r\n"), InvalidRequest),
        (b"nonsense\r\n\r\n", InvalidRequest),
        (b"", InvalidRequest),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nshort", InvalidRequest),
    ],
)
async def test_answers_that_are_no_image_are_refused(
    fetcher: Fetcher, answer: bytes, error: type[InvalidRequest] | type[PayloadTooLarge]
) -> None:
    async with web(answer) as (port, _):
        with pytest.raises(error) as caught:
            await fetcher.fetch(f"http://localhost:{port}/", _gateway(max_image_bytes=4096), PARAM)
    assert caught.value.param == PARAM


async def test_a_server_that_says_nothing_is_given_up(fetcher: Fetcher) -> None:
    async with web(b"") as (port, _):
        with pytest.raises(InvalidRequest, match="longer than"):
            await fetcher.fetch(f"http://localhost:{port}/hang", _gateway(fetch_timeout_s=0.1), PARAM)


@pytest.mark.parametrize("port", [22, 25, 6379 - 5979, 1023])
async def test_ports_of_other_services_are_refused(fetcher: Fetcher, port: int) -> None:
    with pytest.raises(InvalidRequest, match="port"):
        await fetcher.fetch(f"http://93.184.215.14:{port}/", Gateway(), PARAM)
