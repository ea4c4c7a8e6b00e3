"""The commands that change what runs, from the caller's side: what they send to the gateway and what they print."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from services.contracts.catalog import Catalog
from services.contracts.catalog_file import load
from services.contracts.errors import InvalidRequest, TurnoutError
from services.controller.changes import changes
from services.controller.client import Client, as_object, checked
from services.controller.lines import clean

_WIDTH = 160


def apply(client: Client, file: Path, after: int | None) -> int:
    """Apply a file; returns the exit code.

    Raises:
        TurnoutError: it is refused, and why.
    """
    load(file)  # mistakes of form are told without asking anybody
    headers = {
        "x-turnout-file": clean(str(file)).encode("ascii", "replace").decode(),
        "content-type": "application/yaml",
    }
    if after is not None:
        headers["if-match"] = f'"{after}"'
    with client.http() as http, _console().status("loading and probing what is new"):
        response = checked(http.put("/admin/catalog", content=file.read_bytes(), headers=headers))
    return _report(response)


def rollback(client: Client, revision: int | None) -> int:
    """Go back; returns the exit code."""
    with client.http() as http, _console().status("loading and probing what is new"):
        body = {} if revision is None else {"revision": revision}
        response = checked(http.post("/admin/rollback", json=body))
    return _report(response)


def scale(client: Client, target: str) -> int:
    """Change the number of instances; returns the exit code.

    Raises:
        InvalidRequest: `target` is not NAME=N.
    """
    name, _, count = target.partition("=")
    if not name or not (count.isascii() and count.isdigit()):
        raise InvalidRequest(f"{target!r} is not NAME=N, as in small=3")
    with client.http() as http, _console().status("loading and probing what is new"):
        response = checked(http.post("/admin/scale", json={"component": name, "count": int(count)}))
    return _report(response)


def diff(client: Client, file: Path) -> int:
    """Print what applying a file would change; returns the exit code."""
    wanted = load(file)
    with client.http() as http:
        found = as_object(checked(http.get("/admin/catalog")))
    in_force = Catalog.model_validate(found["catalog"])
    for line in changes(in_force, wanted) or ("no difference",):
        _print(line)
    return 0


def history(client: Client) -> int:
    """Print the revisions that are kept; returns the exit code."""
    with client.http() as http:
        found = as_object(checked(http.get("/admin/history")))
    table = Table("revision", "since", "", header_style="bold")
    for entry in found["revisions"]:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["created_s"]))
        table.add_row(str(entry["revision"]), since, "in force" if entry["in_force"] else "")
    _console().print(table)
    return 0


def events(client: Client, *, follow: bool) -> int:
    """Print what has happened; with `follow` until interrupted. Returns the exit code."""
    with client.http() as http:
        if not follow:
            for event in as_object(checked(http.get("/admin/events")))["events"]:
                _print_event(event)
            return 0
        with http.stream("GET", "/admin/events?follow=1", timeout=httpx.Timeout(5.0, read=None)) as response:
            if not response.is_success:
                response.read()
                checked(response)
            for line in response.iter_lines():
                if line.startswith("data: "):
                    _print_event(json.loads(line.removeprefix("data: ")))
    raise TurnoutError("the system has stopped")


def _report(response: httpx.Response) -> int:
    found = as_object(response)
    for line in found.get("changes") or ("nothing to do",):
        _print(str(line))
    if found.get("trial"):
        _print(f"{found['trial']}; revision {found['revision']} stays in force until then (`turnout events -f`)")
    elif found.get("changes"):
        beyond_s = found["swap_s"] - found["load_s"]
        _print(f"revision {found['revision']} is in force, {found['swap_s']:.1f} s ({beyond_s:.2f} s beyond loading)")
    return 0


def _print_event(event: dict[str, Any]) -> None:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(event.get("at_s", 0.0))))
    _print(f"{at}  {event.get('what', '?'):<10}  {event.get('text', '')}")


def _print(text: str) -> None:
    print(clean(text), flush=True)  # noqa: T201 - this is the program's answer


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH)
