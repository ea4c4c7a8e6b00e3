"""Runs instances as child processes of this one. `Driver` is the seam where containers would come in."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from services.contracts.keeper import Instance
from services.controller.lines import Line, LineSplitter
from services.worker.parent import die_with_parent

_READ_BYTES = 64 * 1024
_REMEMBERED_LINES = 5
_LAST_WORDS_S = 0.5


@dataclass(frozen=True, slots=True)
class Ending:
    """How an instance ended.

    Attributes:
        code: exit code; negative: the signal that killed it.
        reason: in its own words as far as it had any.
    """

    code: int
    reason: str = ""

    @property
    def how(self) -> str:
        """For a person."""
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return f"killed by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"killed by signal {-self.code}"


class Handle(Protocol):
    """An instance that was started."""

    async def ended(self) -> Ending:
        """Wait for its end. Called once, by the task that owns the instance."""
        ...

    def terminate(self) -> None:
        """Ask it to finish what it does, and end."""
        ...

    def kill(self) -> None:
        """End it now, with all that it started."""
        ...


class Driver(Protocol):
    """A place where instances can run."""

    async def start(self, instance: Instance) -> Handle:
        """Start one.

        Raises:
            OSError: it cannot be started here.
        """
        ...


class ProcessDriver:
    """Child processes in process groups of their own, tied to the life of this process."""

    def __init__(
        self,
        command: Callable[[str], Sequence[str]],
        environment: Callable[[Instance], Mapping[str, str]],
        show: Callable[[str, str], Line],
    ) -> None:
        """Args: the command line of a kind, the whole environment of an instance, and who takes its output."""
        self._command = command
        self._environment = environment
        self._show = show

    async def start(self, instance: Instance) -> ChildProcess:
        """See `Driver.start`."""
        # A pipe of our own: asyncio's would let `wait` return only when the child's children have closed it as well.
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(instance.kind),
                env=self._environment(instance),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                # Its own group: Ctrl-C in a terminal reaches the parent alone, `kill` reaches the child's children.
                start_new_session=True,
                # In the child before its program: even one that dies while importing must not outlive its parent.
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return ChildProcess(process, os.fdopen(read_end, "rb", 0), functools.partial(self._show, instance.name))


class ChildProcess:
    """See `Handle`."""

    def __init__(self, process: Process, output: BinaryIO, show: Callable[[str], Line]) -> None:
        self._process = process
        self._output = output
        self._show = show
        self._reason = ""
        self._last: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self._reading = asyncio.create_task(self._read())

    async def ended(self) -> Ending:
        """See `Handle.ended`."""
        code = await self._process.wait()
        self._signal_group(signal.SIGKILL)
        # A process that left the group may hold the pipe open, so its end is not awaited for long.
        await asyncio.wait([self._reading], timeout=_LAST_WORDS_S)
        self._reading.cancel()
        await asyncio.wait([self._reading])
        return Ending(code, self._reason or (self._last[-1] if self._last else ""))

    def terminate(self) -> None:
        """See `Handle.terminate`."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """See `Handle.kill`."""
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, signum: signal.Signals) -> None:
        # The group has the child's pid as its number, and lives as long as any process in it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signum)

    async def _read(self) -> None:
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), self._output
        )
        lines = LineSplitter()
        try:
            while data := await stream.read(_READ_BYTES):
                for text in lines.feed(data):
                    self._take(text)
        finally:
            for text in lines.end():
                self._take(text)
            transport.close()

    def _take(self, text: str) -> None:
        line = self._show(text)
        self._reason = line.reason or self._reason
        if text.strip():
            self._last.append(line.text.strip())
