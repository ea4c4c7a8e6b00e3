"""The whole system in containers. Run by `make test-containers`, which builds the images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.deployment import Deployment, deployed

# Without an engine and images there is nothing to collect: `make test` does not look in here.
collect_ignore_glob = [] if "TURNOUT_COMPOSE" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(Path(tmp_path_factory.mktemp("deployment"))) as it:
        yield it


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those on a Swarm come last: when one begins or ends, other containers cannot find each other by name any more."""
    items.sort(key=lambda item: "test_swarm" in item.nodeid or "[swarm" in item.nodeid)
