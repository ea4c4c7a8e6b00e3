"""Signals as things to wait for."""

from __future__ import annotations

import asyncio
import signal

_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """The first signal asks to stop, a second one to do it at once."""

    def __init__(self) -> None:
        self.first: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        self.second: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def install(self) -> None:
        """Listen from now on; not to the end of the terminal, where `nohup` has that ignored."""
        for signum in _WATCHED:
            if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:
                continue
            asyncio.get_running_loop().add_signal_handler(signum, self.take, signum)

    def take(self, signum: signal.Signals) -> None:
        """Note a signal."""
        if not self.first.done():
            self.first.set_result(signum)
        elif not self.second.done() and signum != signal.SIGHUP:
            self.second.set_result(None)

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, as shells expect; 0 for a stop that was ordered otherwise."""
        return 130 if self.first.done() and self.first.result() == signal.SIGINT else 0
