"""Runs wrk, the load generator in C, and reads what its script prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from evals.bench.children import BenchError

SCRIPT = Path(__file__).with_name("wrk.lua")
_TIMEOUT_S = 60  # a slow answer is a figure, not an error
LONGEST_S = 16.0
_ROOT = 0


class Errors(msgspec.Struct, frozen=True):
    """What went wrong on the way, by kind. `status` counts answers of 400 and above."""

    connect: int
    read: int
    write: int
    status: int
    timeout: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.connect + self.read + self.write + self.status + self.timeout


class Result(msgspec.Struct, frozen=True):
    """One run of wrk."""

    requests: int
    duration_s: float
    bytes: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    errors: Errors

    @property
    def rps(self) -> float:
        """Answers per second."""
        return self.requests / self.duration_s


@dataclass(frozen=True, slots=True)
class Wrk:
    """An installed wrk."""

    binary: str

    def run(
        self, url: str, model: str, connections: int, seconds: float, environment: Mapping[str, str], least_bytes: int
    ) -> Result:
        """Load `url` for some seconds; longer when not one answer comes in that time.

        Args:
            least_bytes: what a good answer measures at least, head and body.

        Raises:
            BenchError: errors, answers too short to be right, or none at all.
        """
        while True:
            result = self._once(url, model, connections, seconds, environment)
            if result.requests or result.errors.total or seconds >= LONGEST_S:
                break
            seconds *= 2
        if result.errors.total:
            raise BenchError(f"{url} ({model}, {connections} connections): {result.errors}")
        if not result.requests:
            raise BenchError(f"{url} ({model}, {connections} connections): no answer in {seconds:.0f} s")
        if result.bytes < result.requests * least_bytes:
            raise BenchError(f"{url} ({model}): answers of {result.bytes / result.requests:.0f} bytes are too short")
        return result

    def _once(self, url: str, model: str, connections: int, seconds: float, environment: Mapping[str, str]) -> Result:
        command = (
            *(self.binary, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", f"{_TIMEOUT_S}s"),
            *("-s", str(SCRIPT), url, "--", model, f"{time.time_ns():x}"),
        )
        done = subprocess.run(  # noqa: S603 - our own command line
            command, env=dict(environment), capture_output=True, text=True, timeout=seconds + 60, check=False
        )
        if done.returncode != 0:
            raise BenchError(f"wrk failed: {(done.stderr or done.stdout).strip()[-500:]}")
        return parse(done.stdout)


def parse(printed: str) -> Result:
    """The last line, which wrk.lua prints.

    Raises:
        BenchError: it is not there, or not as expected.
    """
    lines = printed.strip().splitlines()
    try:
        return msgspec.json.decode(lines[-1] if lines else "", type=Result)
    except msgspec.DecodeError as error:
        raise BenchError(f"wrk printed no result: {printed[-500:]}") from error


def find(*, install: bool) -> Wrk:
    """wrk, installed first if that is allowed.

    Raises:
        BenchError: there is none; the message says how to get it.
    """
    if (found := shutil.which("wrk")) is not None:
        return Wrk(found)
    if install and os.geteuid() == _ROOT and (apt := shutil.which("apt-get")) is not None:
        subprocess.run((apt, "install", "-y", "wrk"), check=False)  # noqa: S603 - asked for by --install
        if (found := shutil.which("wrk")) is not None:
            return Wrk(found)
    raise BenchError(
        "this benchmark needs wrk (https://github.com/wg/wrk): `apt-get install wrk`, `dnf install wrk` or "
        "`brew install wrk`. As root on Debian or Ubuntu, `python -m evals.bench.gateway --install` does it."
    )
