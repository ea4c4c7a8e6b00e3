"""Notices that the client has left, and stops the work that was being done for it."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from services.contracts.errors import Cancelled
from services.gateway.exchange import Exchange


class ClientGone(Cancelled):
    """The client of this very request has left; there is nobody to answer."""


class while_connected:  # noqa: N801 - reads as a block, like asyncio.timeout
    """Runs a block only as long as the client is there: `async with while_connected(exchange): ...`.

    Use it once the body has been read: from then on all that can be received is that the client left.
    Built like `asyncio.timeout`: the block is cancelled and leaves as an error of ours.

    Raises:
        ClientGone: the client left before the block ended.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._gone = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("there is no task to stop")
        self._task = task
        self._cancelling = task.cancelling()
        self._listener = asyncio.create_task(self._listen())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._listener.cancel()
        if not self._gone or self._task.uncancel() > self._cancelling:
            return
        if kind is not asyncio.CancelledError:
            # The block ended by itself in the very moment: the cancellation is still on its way to this task.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        raise ClientGone("the client left") from error

    async def _listen(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        if self._exchange.complete:
            return  # the server says so too when the answer is out
        self._gone = True
        self._task.cancel()
