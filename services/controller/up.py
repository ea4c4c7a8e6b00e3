"""`turnout up`: the bus and every process of the catalog, as children of this one.

The way: check -> bus -> publish the catalog -> start the children -> wait until they serve -> wait for the end -> stop.

If the one before was killed, its children have died with it, and the way begins differently: bus -> read the catalog
that was in force there -> start the children. A change that it was in the middle of has not been; if that was a saved
file, the file is applied again once everything serves.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import stamina

from services.bus.nats_bus import NatsBus, connected
from services.bus.roster import Roster
from services.contracts import subjects
from services.contracts.access_keys import keys_in
from services.contracts.catalog import Catalog, Snapshot
from services.contracts.catalog_file import load
from services.contracts.errors import ComponentUnavailable, ConfigError, TurnoutError
from services.contracts.keeper import Instance
from services.controller import modules, ports, state_folder
from services.controller.check import Problem, key_places, problems
from services.controller.controller import Controller
from services.controller.environment import Settings, child_environment
from services.controller.own_bus import OwnBus
from services.controller.positions import line_of
from services.controller.process_driver import ProcessDriver
from services.controller.readiness import Programs, Readiness, welcome
from services.controller.reconciler import plan
from services.controller.rollout import Parts
from services.controller.screen import Screen
from services.controller.signals import StopSignals
from services.controller.supervisor import Refusal, Supervisor
from services.controller.waiting import first_of
from services.controller.watch import digest_at, saved
from services.worker.parent import die_with_parent
from services.worker.process import read_snapshot

DRAIN_S = 3.0
GRACE_S = 3.7  # with what follows it, everything ends within 5 s
_TICK_S = 0.25
_PATIENCE_S = 15.0
_OLD_PORT_S = 5.0


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        command: gives the command line of a kind; tests put their own children in.
        with_parent: stop when the process that started this one ends.
    """

    config: Path
    port: int | None = None
    state_dir: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    command: Callable[[str], Sequence[str]] = modules.command
    with_parent: bool = False


def up(options: Options, screen: Screen) -> int:
    """Run until told to stop; returns the exit code.

    Raises:
        ConfigError: the configuration cannot be used, or a component cannot run as it says.
        TurnoutError: the port or the state folder is somebody else's.
    """
    begun_s = time.monotonic()
    if options.with_parent:
        die_with_parent(signum=signal.SIGTERM)
    screen.take_own_logs()
    state_dir = options.state_dir or options.config.resolve().parent / ".turnout"
    beginning = None if state_folder.left_behind(state_dir) else _beginning(options, _from_file(options))
    with state_folder.held(state_dir):
        return asyncio.run(_System(options, screen, state_dir, beginning, begun_s).run())


def _from_file(options: Options) -> Snapshot:
    """What the configuration file says.

    Raises:
        ConfigError: it cannot be used.
    """
    digest = digest_at(options.config)  # before it is read: what is saved in between counts as not yet read
    catalog = load(options.config)
    return Snapshot(base_dir=str(options.config.resolve().parent), file_sha256=digest, catalog=catalog)


def _beginning(options: Options, snapshot: Snapshot) -> _Beginning:
    """With what to begin.

    Raises:
        PortTaken: somebody else listens there. ConfigError: there is no such place.
    """
    gateway = snapshot.catalog.gateway
    host = options.environment.get("TURNOUT_HOST") or gateway.host
    port = ports.claim(host, ports.choose(options.port, options.environment, gateway.port))
    return _Beginning(snapshot, _Place(host, port))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """What a client on this machine would use."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        host = anywhere.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What is to run, and where it is to listen."""

    snapshot: Snapshot
    place: _Place


class _System:
    """One run, from the start of the bus to its end."""

    def __init__(
        self, options: Options, screen: Screen, state_dir: Path, beginning: _Beginning | None, begun_s: float
    ) -> None:
        """Args: `beginning` is None after one that was killed: then what was in force counts."""
        self._options = options
        self._screen = screen
        self._state_dir = state_dir
        self._beginning = beginning
        self._begun_s = begun_s
        self._gateway_environment: Mapping[str, str] = {}

    async def run(self) -> int:
        self._signals = StopSignals()  # belongs to the loop that runs only now
        self._signals.install()
        async with AsyncExitStack() as stack:
            own_bus = await stack.enter_async_context(OwnBus.running(self._state_dir, self._screen.say))
            bus = await stack.enter_async_context(connected(own_bus.url, name="controller"))
            try:
                await bus.ensure_storage()
            except ComponentUnavailable as error:
                raise state_folder.not_kept(self._state_dir, error) from error
            beginning = self._beginning or await self._inherited(bus)
            self._place = beginning.place
            self._snapshot = await self._published(bus, beginning.snapshot)
            roster = Roster(bus)
            await roster.start()
            stack.push_async_callback(roster.stop)
            supervisor = self._supervisor(bus, own_bus.url)
            self._controller = Controller(Parts(bus, roster, supervisor, self._tell), self._snapshot, self._problems)
            await self._controller.begin(inherit=self._beginning is None)
            steps = plan(self._controller.wanted, ())
            self._screen.align([instance.name for instance in steps.start])
            stack.push_async_callback(self._stop, supervisor)
            supervisor.start(steps.start)
            await self._start_up(roster, supervisor)
            await self._controller.listen()
            control = self._controller
            works = (control.run(), control.autoscale(), control.heal(), self._watch())
            working = [asyncio.create_task(work) for work in works]
            try:
                await self._until_stopped(supervisor)
            finally:
                for task in working:
                    task.cancel()
                await asyncio.gather(*working, return_exceptions=True)
                await self._controller.stop()
            return self._signals.exit_code

    async def _inherited(self, bus: NatsBus) -> _Beginning:
        """What was in force when the one before us was killed; the file, where that left nothing to be read.

        Raises:
            ConfigError, PortTaken: as at any start.
        """
        try:
            snapshot = await read_snapshot(bus)
        except ConfigError as error:
            self._screen.say(f"the one before was killed and has left no catalog: {error.message}", "warning")
            snapshot = _from_file(self._options)
        else:
            self._screen.say(f"the one before was killed: revision {snapshot.revision}, the last in force, runs again")
        # Its children die with it, but the last of them may still be about to.
        async for attempt in stamina.retry_context(
            on=ports.PortTaken, timeout=_OLD_PORT_S, attempts=None, wait_max=0.2
        ):
            with attempt:
                beginning = _beginning(self._options, snapshot)
        return beginning

    async def _published(self, bus: NatsBus, snapshot: Snapshot) -> Snapshot:
        """The catalog as its children will find it: stored, if it is not what lies there."""
        base_dir = str(self._options.config.resolve().parent)
        if snapshot.revision and snapshot.base_dir == base_dir:
            return snapshot
        data = snapshot.model_copy(update={"base_dir": base_dir}).model_dump_json().encode()
        revision = await bus.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, data)
        return snapshot.model_copy(update={"base_dir": base_dir, "revision": revision})

    def _supervisor(self, bus: NatsBus, nats_url: str) -> Supervisor:
        settings = Settings(nats_url, self._place.port, DRAIN_S)
        driver = ProcessDriver(
            self._options.command,
            lambda instance: self._environment(instance, settings),
            self._screen.child,
        )

        async def announce_gone(instance: Instance) -> None:
            try:
                await bus.publish(subjects.gone(instance.component, instance.name), b"")
            except TurnoutError as error:
                self._screen.say(f"nobody could be told that {instance.name} is gone: {error.message}", "warning")

        return Supervisor(driver, announce_gone=announce_gone, say=self._screen.say)

    def _environment(self, instance: Instance, settings: Settings) -> dict[str, str]:
        catalog = self._controller.catalog_for(instance)
        made = child_environment(self._options.environment, catalog, instance, settings)
        if instance.component == modules.GATEWAY:
            self._gateway_environment = made
        return made

    def _problems(self, catalog: Catalog, base_dir: Path) -> Iterator[Problem]:
        """What is wrong with a catalog that is to come into force here.

        The gateway goes on as the process that it is: a variable that it was not given, it will not have.
        """
        yield from problems(catalog, base_dir)
        for param, ref in key_places(catalog):
            if ref.env is not None and not keys_in(self._gateway_environment.get(ref.env, "")):
                yield Problem(
                    "gateway",
                    f"{param}: the gateway was started without keys in {ref.env}: set that variable and start "
                    "`turnout up` again with this configuration, or name a file",
                )

    async def _start_up(self, roster: Roster, supervisor: Supervisor) -> None:
        """Wait until everything serves.

        Raises:
            ConfigError: a component cannot run as it is configured; where and why.
        """
        told: set[str] = set()
        reminder_s = _PATIENCE_S
        while not self._signals.first.done():
            if not supervisor.refusals.empty():
                raise self._located(supervisor.refusals.get_nowait())
            now = Readiness.of(supervisor.running, roster.all())
            took_s = time.monotonic() - self._begun_s
            if not self._screen.terminal:
                self._tell_arrivals(now, told, took_s)
                if took_s > reminder_s:
                    reminder_s += _PATIENCE_S
                    self._screen.say(f"{took_s:5.1f} s  still starting: {', '.join(now.awaited)}")
            if now.complete:
                gateway = self._snapshot.catalog.gateway
                self._screen.announce(
                    welcome(self._place.url, now, took_s, _programs(), key_needed=gateway.keys is not None)
                )
                return
            late = f" (after {took_s:.0f} s)" if took_s > _PATIENCE_S else ""
            self._screen.status(f"starting {len(now.awaited)}: {', '.join(now.awaited)}{late}")
            await first_of(roster.changed(), asyncio.sleep(_TICK_S), self._signals.first)

    def _tell_arrivals(self, now: Readiness, told: set[str], took_s: float) -> None:
        for beat in (*now.ready, *now.unconfigured):
            if beat.instance not in told:
                told.add(beat.instance)
                detail = beat.detail or beat.model
                self._screen.say(f"{took_s:5.1f} s  {beat.instance} is {beat.state} {detail}".rstrip())

    def _located(self, refusal: Refusal) -> ConfigError:
        path = self._options.config
        name = refusal.instance.component
        line = line_of(path, name, refusal.reason)
        what = f"components.{name}" if name in self._controller.snapshot.catalog.components else name
        return ConfigError(f"{path}:{line}: {what}: {refusal.reason}")

    async def _until_stopped(self, supervisor: Supervisor) -> None:
        while not self._signals.first.done():
            refused = asyncio.create_task(supervisor.refusals.get())
            await first_of(refused, self._signals.first)
            if refused.done():
                self._screen.say(self._located(refused.result()).message, "error")
            refused.cancel()
        self._screen.say(f"stopping {len(supervisor.running)} processes (again to stop at once)")

    async def _watch(self) -> None:
        """Apply the file whenever it is saved."""
        path = self._options.config
        async for data in saved(path, self._snapshot.file_sha256):
            done = await self._controller.saved(data, str(path))
            if done.error is not None:
                self._screen.say(f"not applied: {done.error.message}", "error")
            elif done.trial:
                self._screen.say(done.trial)
            elif done.changes:
                self._screen.say(f"revision {done.revision} is in force: {'; '.join(done.changes)}")

    def _tell(self, what: str, text: str, instance: Instance) -> None:
        self._controller.happened(what, text, instance)
        self._screen.say(f"{instance.name} {text}")

    async def _stop(self, supervisor: Supervisor) -> None:
        """Everything but the bus, which the children still need to say good-bye."""
        self._screen.status("")
        stopping = asyncio.create_task(supervisor.stop(GRACE_S))
        await first_of(stopping, self._signals.second)
        if not stopping.done():
            supervisor.kill()
        await stopping


def _programs() -> Programs:
    return Programs(_as_typed(Path(sys.executable).with_name("turnout")), _as_typed(Path(sys.executable)))


def _as_typed(program: Path) -> str:
    """Its name alone if the shell finds it by that, else its path, from here if that is shorter."""
    if shutil.which(program.name) == str(program):
        return program.name
    return shlex.quote(min(str(program), os.path.relpath(program), key=len))
