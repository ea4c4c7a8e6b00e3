"""One whole system for the module's tests: every kind of component, the cloud being a server of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.running import SMALL, Running, running
from tests.support.upstream import Upstream, running_upstream


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as server:
        yield server


@pytest.fixture(scope="session")
def system(upstream: Upstream) -> Iterator[Running]:
    config: dict[str, Any] = {
        "version": 1,
        "gateway": {"max_body_bytes": 30_000_000},
        "components": {
            "small": SMALL,
            "cloud": {
                "kind": "llm_cloud",
                "base_url": upstream.base_url,
                "model": "mock-large",
                "price": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 4.0},
                "logprobs": True,
            },
            "absent": {"kind": "llm_cloud", "model": "x", "key": {"env": "TURNOUT_TEST_NO_SUCH_KEY"}},
            "eyes": {"kind": "vision"},
            "docs": {"kind": "retrieval", "path": "documents"},
            "tools": {"kind": "tool_agent"},
            "screen": {"kind": "screen_agent"},
        },
    }
    with running(config) as it:
        yield it
