"""Signs of life of what is being worked on, when the bus has been away.

Whoever asked cannot tell a message that was lost from one that is still to come. A task that is known here says so, as
soon as its asker has surely come back too; of one that stays silent its asker knows that it must be sent again.
"""

from __future__ import annotations

import asyncio

import structlog

from services.bus.port import Bus
from services.contracts.errors import TurnoutError
from services.contracts.events import ALIVE, Envelope
from services.contracts.messages import Task, encode

log = structlog.get_logger()

_AFTER_S = (0.4, 1.0)  # twice: an asker may take a while to come back


class Signs:
    """Knows the tasks in work, and speaks for them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._tasks: dict[str, Task] = {}
        self._speaking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Wait for the bus to come back."""
        self._speaking = asyncio.create_task(self._speak())

    def begin(self, task: Task) -> None:
        """Work on this has begun, or waits for its turn."""
        self._tasks[task.id] = task

    def end(self, task: Task) -> None:
        """It has ended, whichever way."""
        self._tasks.pop(task.id, None)

    async def stop(self) -> None:
        """Say nothing more."""
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.gather(self._speaking, return_exceptions=True)

    async def _speak(self) -> None:
        while True:
            await self._bus.returned()
            for pause_s in _AFTER_S:
                await asyncio.sleep(pause_s)
                try:
                    for task in tuple(self._tasks.values()):
                        await self._bus.publish(task.inbox, encode(Envelope(task.id, ALIVE, ())))
                except TurnoutError as error:
                    log.warning("no_sign_of_life", reason=error.message)  # it has gone again, and will come back
