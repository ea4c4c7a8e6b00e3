"""A nats-server on its own event loop in a thread, so that it can outlive the loop of a single test."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.bus.embedded import Embedded, embedded_server, find_binary
from services.worker.parent import die_with_parent


@dataclass(frozen=True)
class NatsServer:
    """A running server."""

    url: str

    @classmethod
    @contextmanager
    def running(cls, state_dir: Path) -> Iterator[NatsServer]:
        """Run one while the block runs."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        # Tied to this thread, which lives as long as the test run: one that is killed leaves no server behind.
        context = embedded_server(state_dir, preexec_fn=die_with_parent)
        server: Embedded = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(30)
        try:
            yield cls(server.url)
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


@contextmanager
def configured(conf: Path) -> Iterator[str]:
    """The URL of a server that runs with this configuration, whose ports must all be -1, while the block does."""
    with subprocess.Popen(
        [str(find_binary()), "-c", str(conf), "--ports_file_dir", str(conf.parent)],
        env={"SERVER_NAME": "test"},
        stderr=subprocess.PIPE,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - forked by the thread that lives on
    ) as server:
        ports = conf.parent / f"nats-server_{server.pid}.ports"
        give_up_s = time.monotonic() + 10
        while not (ports.exists() and ports.read_text()):
            assert server.poll() is None, server.communicate()[1]
            assert time.monotonic() < give_up_s
            time.sleep(0.02)
        yield next(u for u in json.loads(ports.read_text())["nats"] if "127.0.0.1" in u)
        server.terminate()
