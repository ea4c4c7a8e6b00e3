"""Fetches an image from a URL that a stranger chose, without becoming the stranger's arm inside our network.

One parser (httpx.URL) reads the URL, and its result is what is checked and what is used. We resolve the name, check
every address, and connect to the one that was checked, so the name cannot change its meaning in between. Redirects are
followed by hand and checked again. Proxies and credentials of the environment play no part.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import httpx

from services.contracts.catalog import Gateway
from services.contracts.errors import InvalidRequest, PayloadTooLarge
from services.gateway.addresses import is_public

MAX_REDIRECTS = 3
MAX_URL_CHARS = 8192
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_WELL_KNOWN_PORTS = frozenset((80, 443))
_FIRST_USER_PORT = 1024
_LAST_PORT = 65_535
_OK = 200


class Fetcher:
    """Gets images over HTTP. One for the process; connections are not kept, as each belongs to one checked name."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Release the client."""
        if self._client is not None:
            await self._client.aclose()

    async def fetch(self, url: str, gateway: Gateway, param: str) -> bytes:
        """The bytes of the image at `url`.

        Raises:
            InvalidRequest: the URL is not one we follow, or no image came from there in time; `param` names it.
            PayloadTooLarge: more than `gateway.max_image_bytes`.
        """
        try:
            async with asyncio.timeout(gateway.fetch_timeout_s):
                return await self._follow(url, gateway, param)
        except TimeoutError as error:
            raise InvalidRequest(f"the image took longer than {gateway.fetch_timeout_s:g} s", param=param) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise InvalidRequest("the image could not be fetched from its URL", param=param) from error

    async def _follow(self, text: str, gateway: Gateway, param: str) -> bytes:
        url = parse_url(text, param)
        for _ in range(MAX_REDIRECTS + 1):
            async with self._open(url, gateway, param) as response:
                if response.status_code in _REDIRECTS:
                    url = parse_url(str(url.join(response.headers.get("location", ""))), param)
                    continue
                return await _image_bytes(response, gateway.max_image_bytes, param)
        raise InvalidRequest(f"the image URL redirects more than {MAX_REDIRECTS} times", param=param)

    @contextlib.asynccontextmanager
    async def _open(self, url: httpx.URL, gateway: Gateway, param: str) -> AsyncIterator[httpx.Response]:
        """A GET whose connection goes to an address that was checked, in the name of the URL's host."""
        addresses = await _checked_addresses(url, gateway, param)
        if self._client is None:
            self._client = httpx.AsyncClient(
                trust_env=False,
                follow_redirects=False,
                limits=httpx.Limits(max_keepalive_connections=0, max_connections=32),
                timeout=None,  # noqa: S113 - `fetch` limits the whole
            )
        name = url.raw_host.decode("ascii")
        host = f"[{name}]" if ":" in name else name
        request = self._client.build_request(
            "GET",
            url.copy_with(host=addresses[0]),
            headers={
                "host": host if url.port is None else f"{host}:{url.port}",
                "accept": "image/*",
                "accept-encoding": "identity",  # a compressed body would be a bomb of its own
                "user-agent": "turnout",
            },
            extensions={"sni_hostname": name},
        )
        response = await self._client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()


def parse_url(text: str, param: str) -> httpx.URL:
    """The URL, if it is of a form we follow.

    Raises:
        InvalidRequest: it is not; `param` names it.
    """
    if len(text) > MAX_URL_CHARS or any(char <= " " or char in "\\\x7f" for char in text):
        raise InvalidRequest("the image URL is too long or holds characters that no URL has", param=param)
    try:
        url = httpx.URL(text)
        name = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidRequest("the image URL is malformed", param=param) from error
    if url.scheme not in ("http", "https"):
        raise InvalidRequest("image URLs must be http, https or data", param=param)
    if not name:
        raise InvalidRequest("the image URL has no host", param=param)
    if url.port is not None and not 0 < url.port <= _LAST_PORT:
        raise InvalidRequest("the image URL has an impossible port", param=param)
    if url.userinfo:
        raise InvalidRequest("image URLs must not carry credentials", param=param)
    return url


async def _checked_addresses(url: httpx.URL, gateway: Gateway, param: str) -> list[str]:
    """The addresses of the host, all of them public, or the host one of those the operator allows by name."""
    name = url.raw_host.decode("ascii").lower().rstrip(".")
    port = url.port or (443 if url.scheme == "https" else 80)
    allowed = name in gateway.fetch_private_hosts
    if not allowed and port not in _WELL_KNOWN_PORTS and port < _FIRST_USER_PORT:
        raise InvalidRequest(f"image URLs must not use port {port}", param=param)
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in found]
    if not addresses or not (allowed or all(is_public(address) for address in addresses)):
        raise InvalidRequest("the image URL leads to an address that is not public", param=param)
    return addresses


async def _image_bytes(response: httpx.Response, max_bytes: int, param: str) -> bytes:
    if response.status_code != _OK:
        raise InvalidRequest(f"the image URL answered with status {response.status_code}", param=param)
    if not response.headers.get("content-type", "").lower().startswith("image/"):
        raise InvalidRequest("the image URL does not lead to an image", param=param)
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequest("the image URL answers in a compressed encoding we did not ask for", param=param)
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > max_bytes:
            raise PayloadTooLarge(f"the image is larger than {max_bytes} bytes", param=param)
        pieces.append(piece)
    return b"".join(pieces)
