"""The HTTP side of the commands that talk to a running system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from services.contracts.errors import NotAuthorized, TurnoutError

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 600.0  # the gateway's deadline ends a request, not ours


class Refused(TurnoutError):
    """The gateway answered with an error; the message is the gateway's."""

    code = "refused"


@dataclass(frozen=True)
class Client:
    """Where to ask, and with which key."""

    url: str
    key: str = ""

    @classmethod
    def make(cls, url: str) -> Client:
        """From the option, else from `TURNOUT_URL`, `TURNOUT_PORT` and `TURNOUT_API_KEY`."""
        port = os.environ.get("TURNOUT_PORT") or "8080"
        found = url or os.environ.get("TURNOUT_URL") or f"http://127.0.0.1:{port}"
        return cls(found.rstrip("/").removesuffix("/v1"), os.environ.get("TURNOUT_API_KEY", ""))

    @contextmanager
    def http(self) -> Iterator[httpx.Client]:
        """Connections to the gateway while the block runs.

        Raises:
            TurnoutError: nothing answers there, or it stops answering.
        """
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        timeout = httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        try:
            with httpx.Client(base_url=self.url, headers=headers, timeout=timeout) as http:
                yield http
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise TurnoutError(
                f"no Turnout at {self.url}: start it with `turnout up`, or name another with --url"
            ) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise TurnoutError(f"{self.url!r} is no URL; it looks like http://127.0.0.1:8080") from error
        except httpx.TransportError as error:
            raise TurnoutError(f"the connection to {self.url} broke ({type(error).__name__})") from error


def checked(response: httpx.Response) -> httpx.Response:
    """The response, if it is a good one. Its body must have been read.

    Raises:
        TurnoutError: what the gateway said.
    """
    if response.is_success:
        return response
    message = error_message(response)
    if response.status_code == NotAuthorized.status:
        sent = "authorization" in response.request.headers
        hint = "TURNOUT_API_KEY holds the key that was sent" if sent else "put the key into TURNOUT_API_KEY"
        raise Refused(f"{message} ({hint})")
    if retry := response.headers.get("retry-after"):
        message += f" (try again in {retry} s)"
    raise Refused(f"{message} [{response.status_code}]")


def error_message(response: httpx.Response) -> str:
    """The gateway's message, or what can be said without one."""
    found = as_object(response)
    error = found.get("error")
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return f"{response.request.method} {response.request.url} failed: {response.reason_phrase}"


def as_object(response: httpx.Response) -> dict[str, Any]:
    """The JSON object in a response; empty if there is none."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
