"""Fixtures every test may use: a real nats-server for the session, and a clean bus for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from services.bus.nats_bus import NatsBus, connect
from tests.support.nats import NatsServer


@pytest.fixture(autouse=True)
def fresh_logs() -> Iterator[None]:
    """What a test configures of the logs ends with it: a stream that it captured is closed by then."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One real server for all tests that need one."""
    with NatsServer.running(Path(tmp_path_factory.mktemp("nats"))) as server:
        yield server


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[NatsBus]:
    """A connection to the real server, with its streams and buckets in place."""
    connection = await connect(nats_server.url, name="test")
    await connection.ensure_storage()
    yield connection
    await connection.close()
