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
_ELSEWHERE_S = 5.0  # for lines from a machine that may have gone


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

    # --- containers, of this machine ---

    async def containers(self, labels: Mapping[str, str]) -> list[Json]:
        """Those, running or not, that bear all these labels; with an empty value: whatever theirs is."""
        return await self._labelled("/containers/json", labels, all="1")

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
        return await self._lines(f"/containers/{container}/logs", count)

    async def remove(self, container: str) -> None:
        """Forget one, and the volumes that have no name."""
        await self._call("DELETE", f"/containers/{container}", params={"force": "1", "v": "1"}, fine=_NOT_FOUND)

    # --- services, of a Swarm that this machine manages; each runs in tasks, on whatever machines ---

    async def services(self, labels: Mapping[str, str]) -> list[Json]:
        """Those that bear all these labels."""
        return await self._labelled("/services", labels)

    async def create_service(self, spec: Json) -> None:
        """Make one."""
        await self._call("POST", "/services/create", json=spec)

    async def remove_service(self, service: str) -> None:
        """Forget one. Its tasks are asked to end, and killed after the time that they have for it."""
        await self._call("DELETE", f"/services/{service}", fine=_NOT_FOUND)

    async def tasks(self, labels: Mapping[str, str]) -> list[Json]:
        """Those of the services that bear, or bore, all these labels."""
        return await self._labelled("/tasks", labels)

    async def last_lines_of_task(self, task: str, count: int) -> list[str]:
        """What it said last, wherever it runs."""
        return await self._lines(f"/tasks/{task}/logs", count, timeout=_ELSEWHERE_S)

    async def node(self, node: str) -> Json:
        """Everything about one machine."""
        found: Json = (await self._call("GET", f"/nodes/{node}")).json()
        return found

    async def _labelled(self, path: str, labels: Mapping[str, str], **more: str) -> list[Json]:
        wanted = [f"{name}={value}" if value else name for name, value in labels.items()]
        query = {"filters": json.dumps({"label": wanted}), **more}
        found: list[Json] = (await self._call("GET", path, params=query)).json()
        return found

    async def _lines(self, path: str, count: int, timeout: float = 60.0) -> list[str]:
        query = {"stdout": "1", "stderr": "1", "tail": str(count)}
        data = (await self._call("GET", path, params=query, timeout=timeout)).content
        lines: list[bytes] = []
        while len(data) > _STREAM_HEAD_BYTES:  # a frame: which stream, three bytes of nothing, the length
            end = _STREAM_HEAD_BYTES + int.from_bytes(data[4:_STREAM_HEAD_BYTES], "big")
            lines += data[_STREAM_HEAD_BYTES:end].splitlines()
            data = data[end:]
        return [line.decode("utf-8", "replace") for line in lines]

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
