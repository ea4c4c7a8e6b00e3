from __future__ import annotations

import pytest

from services.vision.engine import Engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The real models, loaded once for all tests."""
    loaded = Engine(threads=2)
    loaded.load()
    return loaded
