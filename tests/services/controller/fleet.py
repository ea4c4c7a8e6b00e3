"""`turnout up` with fake children, as a process of its own that a test can signal and kill."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from services.contracts.errors import ConfigError, TurnoutError
from services.controller.screen import Screen
from services.controller.up import Options, up
from tests.support.processes import await_none_left, await_true, marked, new_mark, program, started
from tests.support.running import free_port

CHILD = Path(__file__).with_name("child.py")


@dataclass
class Fleet:
    """A running `up`. `mark` is in the environment of all its processes."""

    process: subprocess.Popen[str]
    folder: Path
    port: int
    mark: dict[str, str]
    lines: list[str]

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def await_line(self, text: str, *, times: int = 1) -> str:
        """The last of so many lines that have `text` in them."""
        try:
            return await_true(lambda: [line for line in self.lines if text in line][times - 1 : times], repr(text))[0]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from error

    def await_ready(self) -> None:
        self.await_line("Turnout is ready")

    def pids_of(self, instance: str) -> list[int]:
        """The processes that were started as this instance, and their children."""
        return [pid for pid, env in marked(self.mark).items() if env.get("TURNOUT_INSTANCE") == instance]

    def nats_url(self) -> str:
        """Where its bus is, with the password."""
        return next(url for env in marked(self.mark).values() if (url := env.get("TURNOUT_NATS_URL", "")))

    def configure(self, **slots: int) -> None:
        """Save a configuration: so many slots for each component."""
        (self.folder / "turnout.yaml").write_text(configuration(slots))

    def bus_pid(self) -> int:
        (found,) = [pid for pid in marked(self.mark) if program(pid) == "nats-server"]
        return found

    def end(self, timeout_s: float = 10.0) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(timeout_s)
        await_none_left(self.mark, 1.0)
        return code


def configuration(slots: Mapping[str, int]) -> str:
    """The file for components with so many slots each."""
    return "components:\n" + "".join(f"  {name}:\n    kind: vision\n    slots: {n}\n" for name, n in slots.items())


@contextmanager
def fleet(folder: Path, *components: str, port: int | None = None) -> Iterator[Fleet]:
    """Run `up` on a catalog of components whose names say how they behave. Nothing survives the block.

    Without components, it is whatever was configured there before.
    """
    config = folder / "turnout.yaml"
    if components:
        config.write_text(configuration(dict.fromkeys(components, 1)))
    assert yaml.safe_load(config.read_text())
    port = port or free_port()
    mark = new_mark()
    command = (sys.executable, "-m", "tests.services.controller.fleet", config, str(port))
    with started(command, mark, OPENAI_API_KEY="not-for-everyone") as (process, lines):
        yield Fleet(process, folder, port, mark, lines)


def _command(_kind: str) -> Sequence[str]:
    return (sys.executable, "-P", str(CHILD))


if __name__ == "__main__":
    try:
        sys.exit(up(Options(Path(sys.argv[1]), int(sys.argv[2]), command=_command), Screen()))
    except TurnoutError as failure:
        sys.stderr.write(f"{failure.message}\n")
        sys.exit(78 if isinstance(failure, ConfigError) else 1)
