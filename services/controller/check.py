"""`turnout check`: whether a configuration can be used, without starting anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.contracts import predictor_file
from services.contracts.access_keys import keys_in
from services.contracts.catalog import Catalog, Component, KeyRef, LlmCloud, LlmLocal, Retrieval
from services.contracts.catalog_file import load
from services.contracts.errors import ConfigError
from services.controller.model_file import check_model_file
from services.controller.positions import line_of

_PIPED_WIDTH = 160
_MAX_KEY_FILE_CHARS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that would keep a component from starting. `where` is the component's name, or `router`."""

    where: str
    reason: str


def check(path: Path) -> int:
    """Print what would run, or what is wrong; returns the exit code.

    Raises:
        ConfigError: it cannot be used; one `file:line: where: what` line per mistake.
    """
    catalog = load(path)
    found = list(problems(catalog, path.resolve().parent))
    if found:
        raise ConfigError("\n".join(_located(path, problem, catalog) for problem in found))
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    console.print("ok")
    console.print(table(catalog, os.environ))
    return 0


def problems(catalog: Catalog, base_dir: Path) -> Iterator[Problem]:
    """What is wrong beyond the form: files that are not there or are not what they should be."""
    yield from _predictor_problems(catalog, base_dir)
    yield from _key_problems(catalog, base_dir)
    for name, spec in catalog.components.items():
        if isinstance(spec, LlmLocal) and spec.enabled:
            yield from _model_problems(name, spec, base_dir)
        elif isinstance(spec, Retrieval) and (base_dir / spec.path).exists() and not (base_dir / spec.path).is_dir():
            yield Problem(name, f"path: {spec.path} is not a folder")


def _key_problems(catalog: Catalog, base_dir: Path) -> Iterator[Problem]:
    """A gateway that cannot read its new keys goes on with the old ones, or with none: nobody would notice."""
    for param, ref in key_places(catalog):
        if ref.file is None:
            continue
        try:
            with (base_dir / ref.file).open(encoding="utf-8") as file:
                found = keys_in(file.read(_MAX_KEY_FILE_CHARS))
        except FileNotFoundError:
            yield Problem("gateway", f"{param}: there is no file {ref.file}")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            yield Problem("gateway", f"{param}: the file {ref.file} cannot be read: {reason}")
        else:
            if not found:
                yield Problem("gateway", f"{param}: the file {ref.file} holds no key; put one key a line there")


def key_places(catalog: Catalog) -> list[tuple[str, KeyRef]]:
    """Where the keys are that let callers in, each with the name of its setting."""
    edge = catalog.gateway
    return [(name, ref) for name, ref in (("keys", edge.keys), ("admin_keys", edge.admin_keys)) if ref is not None]


def _predictor_problems(catalog: Catalog, base_dir: Path) -> Iterator[Problem]:
    if catalog.router.predictor is None:
        return
    path = base_dir / catalog.router.predictor
    if not path.is_file():
        yield Problem("router", f"predictor: there is no file {catalog.router.predictor}")
        return
    try:
        predictor_file.read(path)
    except ConfigError as error:
        yield Problem("router", f"predictor: {error.message}")


def _model_problems(name: str, spec: LlmLocal, base_dir: Path) -> Iterator[Problem]:
    files = [("", spec.source, spec.sha256)]
    files += [(f"adapters: number {n}: ", one.source, one.sha256) for n, one in enumerate(spec.adapters, 1)]
    for where, source, sha256 in files:
        try:
            check_model_file(source, sha256, base_dir)
        except ConfigError as error:
            yield Problem(name, f"{where}{error.message}")


def table(catalog: Catalog, environment: Mapping[str, str]) -> Table:
    """What would run."""
    made = Table(header_style="bold")
    for column in ("component", "kind", "replicas", "slots", "what", "note"):
        made.add_column(column, overflow="fold")
    for name, spec in catalog.components.items():
        replicas = f"{spec.replicas.min}" if spec.replicas.min == spec.replicas.max else _span(spec)
        cells = (name, spec.kind, replicas, str(spec.slots), _what(spec), note(spec, environment))
        made.add_row(*map(escape, cells))
    return made


def note(spec: Component, environment: Mapping[str, str]) -> str:
    """What a reader should know before starting it."""
    if not spec.enabled:
        return "switched off"
    if isinstance(spec, LlmCloud) and spec.key is not None and not _present(spec.key, environment):
        return f"not configured: {spec.key.env} is not set"
    if isinstance(spec, LlmLocal) and spec.source.startswith("hf://"):
        return "fetched at its first start"
    return ""


def _present(key: KeyRef, environment: Mapping[str, str]) -> bool:
    return key.env is None or bool(environment.get(key.env))


def _span(spec: Component) -> str:
    return f"{spec.replicas.min} to {spec.replicas.max}"


def _what(spec: Component) -> str:
    if isinstance(spec, LlmLocal):
        return spec.source
    if isinstance(spec, LlmCloud):
        return f"{spec.model} at {spec.base_url}" if spec.base_url else spec.model
    return spec.path if isinstance(spec, Retrieval) else ""


def _located(path: Path, problem: Problem, catalog: Catalog) -> str:
    where = f"components.{problem.where}" if problem.where in catalog.components else problem.where
    return f"{path}:{line_of(path, problem.where, problem.reason)}: {where}: {problem.reason}"
