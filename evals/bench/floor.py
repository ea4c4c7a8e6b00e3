"""What the parts cost that nobody can go below, measured beside the systems.

`serve`: HTTP (FastAPI's routing on uvicorn, raw requests and responses) -> NATS -> a worker that echoes -> back.
`graph`: a LangGraph graph of three nodes that do nothing, in one process.

    python -m evals.bench.floor serve --port 9001
    python -m evals.bench.floor graph --seconds 2
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict

import nats
import uvicorn
import uvloop
from fastapi import FastAPI
from langgraph.graph import END, START, StateGraph
from nats.aio.msg import Msg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evals.bench.samples import quantile
from services.bus.embedded import embedded_server, environment_with, stop_process
from services.worker.parent import die_with_parent

_SUBJECT = "echo"
_TIMEOUT_S = 30.0
_WARM_UP = 200


async def echo() -> None:
    """The worker: answer each message with itself, for ever."""
    client = await nats.connect(os.environ["TURNOUT_NATS_URL"])

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, message.data)

    await client.subscribe(_SUBJECT, cb=answer)
    await client.flush()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@asynccontextmanager
async def _echo_worker(url: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "evals.bench.floor", "echo"),
        env=environment_with(url),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    try:
        if process.stdout is not None:
            await process.stdout.readline()
        yield
    finally:
        await stop_process(process, 3.0)


class _Server(uvicorn.Server):
    """Signals are handled by `serve`, which has children to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(port: int) -> None:
    """Serve until SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="turnout-bench-floor-") as folder:
        async with (
            embedded_server(Path(folder), preexec_fn=die_with_parent) as server,
            _echo_worker(server.url),
        ):
            client = await nats.connect(server.url)

            async def chat(request: Request) -> Response:
                message = await client.request(_SUBJECT, await request.body(), timeout=_TIMEOUT_S)
                return Response(message.data, media_type="application/json")

            async def ready(_request: Request) -> Response:
                return Response()

            app = FastAPI(
                routes=[Route("/v1/chat/completions", chat, methods=["POST"]), Route("/ready", ready)], openapi_url=None
            )
            config = uvicorn.Config(
                app, port=port, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error"
            )
            http = _Server(config)
            for signum in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(signum, lambda: setattr(http, "should_exit", True))
            await http.serve()
            await client.close()


class _State(TypedDict):
    """One channel, as in the router."""

    journey: dict[str, int]


async def graph(seconds: float) -> dict[str, float]:
    """The time of one run through three nodes, milliseconds."""

    async def node(state: _State) -> _State:
        return state

    builder = StateGraph(_State)
    for name in ("first", "second", "third"):
        builder.add_node(name, node)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", "third")
    builder.add_edge("third", END)
    compiled = builder.compile()
    times_s: list[float] = []
    until_s = time.perf_counter() + seconds
    while len(times_s) < 2 * _WARM_UP or time.perf_counter() < until_s:
        began_s = time.perf_counter()
        await compiled.ainvoke({"journey": {}})
        times_s.append(time.perf_counter() - began_s)
    warm = times_s[_WARM_UP:]
    return {"p50_ms": quantile(warm, 0.5) * 1000, "p99_ms": quantile(warm, 0.99) * 1000, "per_s": len(warm) / sum(warm)}


def main() -> None:
    """Read the command line and run a part."""
    parser = argparse.ArgumentParser(prog="floor", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("serve").add_argument("--port", type=int, required=True)
    parts.add_parser("graph").add_argument("--seconds", type=float, default=2.0)
    parts.add_parser("echo")
    given = parser.parse_args()
    if given.part == "serve":
        uvloop.run(serve(given.port))
    elif given.part == "graph":
        sys.stdout.write(json.dumps(uvloop.run(graph(given.seconds))) + "\n")
    else:
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(echo())


if __name__ == "__main__":
    main()
