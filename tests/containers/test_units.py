"""The unit tests of each kind, inside the image that is shipped: with its Python, its packages and its user.

The image is taken as it is. A volume lies beside it, with the tests, pytest and a nats-server, and nothing that the
image should have brought itself. There is no network, as there is none for most of the components.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.containers.deployment import TOP, docker

VOLUME = "turnout-test-units"
TESTS = "tests/services"
COMMON = ("tests/contract/test_bus.py", f"{TESTS}/test_worker.py", f"{TESTS}/test_roster.py")
UNITS = {  # without those that need what is in no image (schemathesis, evals, compose/) or in that of another kind
    "gateway": (
        f"{TESTS}/gateway",
        f"--ignore={TESTS}/gateway/test_openapi.py",
        f"--ignore={TESTS}/gateway/test_retries.py",
        f"--ignore={TESTS}/gateway/test_forms.py",
    ),
    "controller": (
        f"{TESTS}/controller",
        *(
            f"--ignore={TESTS}/controller/test_{name}.py"
            for name in ("bootstrap", "bus_rights", "check", "more_commands", "successor", "up")
        ),
    ),
    "router": ("tests/router",),
    "agents": (
        "tests/agents",
        "--ignore=tests/agents/test_screen.py",
        "--ignore=tests/agents/test_tools_real_model.py",
    ),
    "llm_cloud": (f"{TESTS}/llm_cloud", "-k", "not benchmarks_upstream"),
    "llm_local": (f"{TESTS}/llm_local", f"--ignore={TESTS}/llm_local/test_adapters.py"),
    "retrieval": (f"{TESTS}/retrieval",),
    "vision": (f"{TESTS}/vision",),
}
OWN_SETTINGS = ("TURNOUT_HOST", "TURNOUT_PORT", "TURNOUT_LOG_FORMAT", "TURNOUT_HEALTH_FILE", "TURNOUT_PATIENCE_S")
"""What an image says of its deployment, and tests say for themselves."""


@pytest.fixture(scope="module")
def units() -> Iterator[str]:
    """A volume that holds what the image of the tests holds."""
    command = ["build", "-q", "-f", "compose/Containerfile", "--target", "tests", "-t", "turnout/tests"]
    subprocess.run(
        [os.environ["TURNOUT_DOCKER"], *command, "--build-arg", f"BASE_IMAGE={os.environ['BASE_IMAGE']}", "."],
        cwd=TOP,
        check=True,
        capture_output=True,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
    )
    docker("volume", "rm", "-f", VOLUME)
    docker("run", "--rm", "-v", f"{VOLUME}:/opt/tests", "turnout/tests", "true")
    yield VOLUME
    docker("volume", "rm", "-f", VOLUME)


def ran(volume: str, kind: str) -> subprocess.CompletedProcess[str]:
    locked = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    places = ("--tmpfs", "/tmp", "-v", f"{volume}:/opt/tests:ro", "-w", "/opt/tests")  # noqa: S108 - the container's own
    environment = (
        "PYTHONPATH=/app:/opt/tests:/opt/tests/packages",
        "PATH=/opt/turnout/bin:/usr/local/bin:/usr/bin:/bin:/opt/tests/bin",
        "HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis",
        *OWN_SETTINGS,  # a name without a value is not set at all
    )
    return subprocess.run(
        [
            *(os.environ["TURNOUT_DOCKER"], "run", "--rm", "--init", *locked, *places),
            *(part for variable in environment for part in ("-e", variable)),
            *("--entrypoint", "python", f"turnout/{kind}", "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(*COMMON, *UNITS[kind]),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        env={name: value for name, value in os.environ.items() if name not in OWN_SETTINGS},
    )


@pytest.fixture(scope="module")
def runs(units: str) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """Two at a time: each of them waits as often as it works."""
    with ThreadPoolExecutor(2) as pool:
        yield {kind: pool.submit(ran, units, kind) for kind in UNITS}


@pytest.mark.parametrize("kind", list(UNITS))
def test_the_unit_tests_of_a_kind_pass_in_its_image(
    runs: dict[str, Future[subprocess.CompletedProcess[str]]], kind: str
) -> None:
    done = runs[kind].result()
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE)
