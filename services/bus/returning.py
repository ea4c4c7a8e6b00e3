"""Those who wait for the bus to come back."""

from __future__ import annotations

import asyncio


class Returning:
    """Futures, done when the bus is there again after it was away."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def future(self) -> asyncio.Future[None]:
        """One for the next time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future

    def tell(self) -> None:
        """It is there again."""
        for future in tuple(self._waiting):
            if not future.done():
                future.set_result(None)
