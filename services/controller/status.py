"""`turnout status`: the components and their instances as a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.contracts.errors import TurnoutError
from services.controller.client import Client, as_object, checked
from services.controller.lines import clean

_PIPED_WIDTH = 200
_STATE_STYLES = {"ready": "green", "starting": "yellow", "draining": "yellow", "unconfigured": "dim", "failed": "red"}
_REFRESH_S = 1.0
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def show(client: Client, *, as_json: bool) -> int:
    """Print the state of a running system; returns the exit code.

    Raises:
        TurnoutError: nothing answers there, or something that is no Turnout.
    """
    with client.http() as http:
        response = checked(http.get("/v1/status"))
    found = _understood(response, client.url)
    if as_json:
        print(response.text)  # noqa: T201 - this is the program's answer
        return 0
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    console.print(table(found, time.time()))
    return 0


def watch(client: Client, console: Console | None = None, pause: Callable[[float], None] = time.sleep) -> int:
    """Show the state of a running system and keep it current, until Ctrl-C; returns the exit code.

    While nothing answers, the last state stays on the screen under a line that says so.

    Raises:
        TurnoutError: nothing answers at the first try.
    """
    console = console or Console()
    with client.http() as http:
        found = _understood(checked(http.get("/v1/status")), client.url)
    with Live(table(found, time.time()), console=console, auto_refresh=False) as live:
        while True:
            try:
                pause(_REFRESH_S)
                live.update(_now(client, found), refresh=True)
            except KeyboardInterrupt:
                return 0  # it is how one leaves


def _now(client: Client, found: dict[str, Any]) -> RenderableType:
    """The table of this moment. `found` is what was last known, and is brought up to date."""
    try:
        with client.http() as http:
            fresh = _understood(checked(http.get("/v1/status", timeout=_REFRESH_S * 5)), client.url)
    except TurnoutError as error:
        return Group(Text(clean(error.message), style="red"), table(found, time.time()))
    found.clear()
    found.update(fresh)
    return table(found, time.time())


def _understood(response: httpx.Response, url: str) -> dict[str, Any]:
    found = as_object(response)
    if not isinstance(found.get("components"), list):
        raise TurnoutError(f"what answers at {url} is no Turnout")
    return found


def table(found: dict[str, Any], now_s: float) -> Table:
    """The table for what `GET /v1/status` gave."""
    made = Table(title=f"catalog revision {found.get('revision', '?')}", title_justify="left", header_style="bold")
    for name, justify in _COLUMNS:
        made.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]  # the literals are right
    for component in found["components"]:
        for row in _rows(component, now_s):
            made.add_row(*row)
    made.add_section()
    for beat in found.get("processes") or ():  # the gateway and the routers, which are no components
        kind = clean(str(beat.get("kind", "?")))
        made.add_row(kind, kind, *_cells(beat, now_s))
    return made


_COLUMNS = (
    ("component", "left"),
    ("kind", "left"),
    ("instance", "left"),
    ("gen", "right"),
    ("state", "left"),
    ("model", "left"),
    ("slots", "right"),
    ("queue", "right"),
    ("requests", "right"),
    ("errors", "right"),
    ("tokens in", "right"),
    ("out", "right"),
    ("cost USD", "right"),
    ("up", "right"),
)


def _rows(component: dict[str, Any], now_s: float) -> list[list[str | Text]]:
    name, kind = clean(str(component.get("name", "?"))), clean(str(component.get("kind", "?")))
    instances = component.get("instances") or []
    if not instances:
        off = "switched off" if component.get("enabled") is False else "not running"
        return [[name, kind, "", "", Text(off, style="dim" if off == "switched off" else "red")]]
    rows = []
    for index, beat in enumerate(instances):
        first = index == 0
        rows.append([name if first else "", kind if first else "", *_cells(beat, now_s)])
    return rows


def _cells(beat: dict[str, Any], now_s: float) -> list[str | Text]:
    """The cells of one beat. Fields at their default may be missing: that is how beats are encoded."""
    totals = beat.get("totals") or {}
    state = clean(str(beat.get("state", "?")))
    return [
        clean(str(beat.get("instance", "?"))),
        clean(str(beat.get("generation", ""))),
        Text(_state(beat, state, now_s), style=_STATE_STYLES.get(state, "")),
        clean(str(beat.get("model", ""))),
        f"{beat.get('in_use', 0)}/{beat.get('slots', 1)}",
        f"{beat.get('queued', 0)}/{beat.get('queue_max', 0)}",
        f"{totals.get('requests', 0):,}",
        f"{totals.get('errors', 0):,}",
        f"{totals.get('input_tokens', 0):,}",
        f"{totals.get('output_tokens', 0):,}",
        f"{totals.get('cost_usd', 0.0):.6f}",
        duration(now_s - beat["started_s"]) if beat.get("started_s") else "",
    ]


def _state(beat: dict[str, Any], state: str, now_s: float) -> str:
    """A state, with for how long where somebody waits for its end, and the share of one that is on trial."""
    if state in ("draining", "starting") and beat.get("since_s"):
        state = f"{state} for {duration(now_s - beat['since_s'])}"
    if (share := beat.get("share", 1.0)) < 1:
        state = f"{state}, takes {share:.0%}"
    detail = clean(str(beat.get("detail", "")))
    return f"{state}: {detail}" if detail else state


def duration(seconds: float) -> str:
    """A time span in the two units that matter."""
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"
