"""The few calls of a Docker Engine's API that the keeper makes, over its socket.

Source: https://docs.docker.com/reference/api/engine/ (1.41, which Docker 20.10 and everything newer speaks).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from services.contracts.errors import ComponentUnavailable

Json = dict[str, Any]

SOCKET = "/var/run/docker.sock"
_VERSION = "/v1.41"
_NOT_MODIFIED, _NOT_FOUND, _CONFLICT = 304, 404, 409
_STREAM_HEAD_BYTES = 8


class Engine:
    """A client. Every call raises `ComponentUnavailable` with the engine's words when it refuses."""

    def __init__(self, socket: str = SOCKET, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Args: where the engine listens; tests put their own transport in."""
        self._http = httpx.AsyncClient(
            transport=transport or httpx.AsyncHTTPTransport(uds=socket),
            base_url="http://engine",
            timeout=httpx.Timeout(60.0, connect=5.0),
        )

    async def close(self) -> None:
        """End."""
        await self._http.aclose()

    async def find(self, labels: Mapping[str, str]) -> list[Json]:
        """The containers, running or not, that bear all these labels; with an empty value: whatever theirs is."""
        wanted = [f"{name}={value}" if value else name for name, value in labels.items()]
        query = {"all": "1", "filters": json.dumps({"label": wanted})}
        found: list[Json] = (await self._call("GET", "/containers/json", params=query)).json()
        return found

    async def inspect(self, container: str) -> Json:
        """Everything about one."""
        found: Json = (await self._call("GET", f"/containers/{container}/json")).json()
        return found

    async def create(self, name: str, body: Json) -> str:
        """Make one; returns its id."""
        made = await self._call("POST", "/containers/create", params={"name": name}, json=body)
        return str(made.json()["Id"])

    async def join(self, container: str, network: str) -> None:
        """Put one into another network as well, before it starts."""
        await self._call("POST", f"/networks/{network}/connect", json={"Container": container})

    async def start(self, container: str) -> None:
        """Start one."""
        await self._call("POST", f"/containers/{container}/start", fine=_NOT_MODIFIED)

    async def wait(self, container: str) -> int:
        """Its exit code, once it has ended."""
        done = await self._call("POST", f"/containers/{container}/wait", timeout=None)
        return int(done.json()["StatusCode"])

    async def signal(self, container: str, name: str) -> None:
        """Send a signal to its first process."""
        await self._call("POST", f"/containers/{container}/kill", params={"signal": name}, fine=_CONFLICT)

    async def last_lines(self, container: str, count: int) -> list[str]:
        """What it said last, on either stream."""
        query = {"stdout": "1", "stderr": "1", "tail": str(count)}
        data = (await self._call("GET", f"/containers/{container}/logs", params=query)).content
        lines: list[bytes] = []
        while len(data) > _STREAM_HEAD_BYTES:  # a frame: which stream, three bytes of nothing, the length
            end = _STREAM_HEAD_BYTES + int.from_bytes(data[4:_STREAM_HEAD_BYTES], "big")
            lines += data[_STREAM_HEAD_BYTES:end].splitlines()
            data = data[end:]
        return [line.decode("utf-8", "replace") for line in lines]

    async def remove(self, container: str) -> None:
        """Forget one, and the volumes that have no name."""
        await self._call("DELETE", f"/containers/{container}", params={"force": "1", "v": "1"}, fine=_NOT_FOUND)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Json | None = None,
        fine: int = 0,
        timeout: float | None = 60.0,
    ) -> httpx.Response:
        try:
            response = await self._http.request(
                method, f"{_VERSION}{path}", params=params, json=json, timeout=httpx.Timeout(timeout, connect=5.0)
            )
        except httpx.TransportError as error:
            raise ComponentUnavailable(f"the engine cannot be reached ({type(error).__name__})") from error
        if response.is_error and response.status_code != fine:
            raise ComponentUnavailable(f"the engine refuses: {_message(response)}")
        return response


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
