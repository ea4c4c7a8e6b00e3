"""One thread for all heavy work, with an order: what a user waits for goes before what can wait.

The index, the database and the embedder belong to this thread, so none of them needs a lock, and the event loop stays
free for beats. Work is handed over in short pieces (a passage, a document), so a search waits for one piece at most.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Priority(IntEnum):
    """Lower goes first."""

    SEARCH = 0
    EMBED = 1
    INGEST = 2
    BACKGROUND = 3
    CLOSE = 9


class _Piece(NamedTuple):
    priority: int
    number: int
    work: Callable[[], Any] | None
    done: asyncio.Future[Any] | None
    loop: asyncio.AbstractEventLoop | None


class Lane:
    """A thread that does one piece of work after the other, the most urgent first, else in the order of arrival."""

    def __init__(self, name: str) -> None:
        self._pieces: queue.PriorityQueue[_Piece] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    async def run(self, priority: Priority, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do `work` on the lane and return its result.

        Cancelled before its turn, it is never done; cancelled during it, it is finished and its result dropped.

        Raises:
            Exception: whatever `work` raises.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()
        self._pieces.put(_Piece(priority, next(self._numbers), lambda: work(*args, **kwargs), done, loop))
        return await done

    async def close(self) -> None:
        """Let the thread end after what has been handed over."""
        self._pieces.put(_Piece(Priority.CLOSE, next(self._numbers), None, None, None))
        await asyncio.to_thread(self._thread.join)

    def _live(self) -> None:
        while True:
            piece = self._pieces.get()
            if piece.work is None or piece.done is None or piece.loop is None:
                return
            if piece.done.cancelled():
                continue
            try:
                result = piece.work()
            except BaseException as error:  # noqa: BLE001 - handed to the one who waits, whatever it is
                piece.loop.call_soon_threadsafe(_fail, piece.done, error)
            else:
                piece.loop.call_soon_threadsafe(_succeed, piece.done, result)


def _succeed(done: asyncio.Future[Any], result: object) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
