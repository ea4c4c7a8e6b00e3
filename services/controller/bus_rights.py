"""What each process may say and hear on the bus, and the configuration of a NATS server that holds them to it. Pure.

Every component is a user of its own. It takes work under its own name, hears its own inboxes, and answers those who may
ask. Only routers hear requests, only the controller writes the catalog; nothing else is allowed, so a worker that was
broken into sees what it was asked and no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from services.bus.embedded import MAX_PAYLOAD_BYTES, PINGS
from services.contracts import subjects
from services.contracts.catalog import Catalog
from services.contracts.errors import ConfigError
from services.controller.modules import GATEWAY, ROUTER

CONTROLLER = "controller"
KEEPER = "keeper"
_OWN = frozenset((CONTROLLER, KEEPER))
_AGENTS = frozenset(("tool_agent", "screen_agent"))
_READ_BLOBS = frozenset(("vision", "retrieval", "llm_cloud"))


@dataclass(frozen=True, slots=True)
class Rights:
    """The subjects a user may publish to and subscribe to."""

    say: tuple[str, ...]
    hear: tuple[str, ...]


def rights(catalog: Catalog) -> dict[str, Rights]:
    """The rights of every user, by name.

    Raises:
        ConfigError: a component has the name of a user that is none.
    """
    taken = _OWN & catalog.components.keys()
    if taken:
        raise ConfigError(f"a component must not be called {min(taken)!r}: the bus has a user of that name")
    kinds = {name: spec.kind for name, spec in catalog.components.items()}
    agents = sorted(name for name, kind in kinds.items() if kind in _AGENTS)
    askers = (GATEWAY, ROUTER, CONTROLLER, *agents)
    found = {GATEWAY: _gateway(), ROUTER: _router(agents), CONTROLLER: _controller(), KEEPER: _keeper()}
    for name, kind in kinds.items():
        found[name] = _component(name, kind, askers)
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server lives. The defaults are those of its container.

    Attributes:
        passwords: a file that says `pw_NAME: "..."` for each user; relative to the configuration.
        port: for clients; health_port: for whoever watches it, on this machine only. -1 takes a free one.
    """

    passwords: str = "../../run/secrets/nats_passwords"
    store: str = "/data"
    port: int = 4222
    health_port: int = 8222


def server_configuration(catalog: Catalog, place: Place = Place()) -> str:
    """The text of a `nats.conf`. Passwords are not in it: it includes a file of them."""
    users = "\n".join(_user(name, found) for name, found in rights(catalog).items())
    return f"""\
# Made by `turnout nats-conf`: who may say and hear what. Do not edit; change turnout.yaml and make it again.
include {json.dumps(place.passwords)}

port: {place.port}
http: "127.0.0.1:{place.health_port}"
server_name: $SERVER_NAME
max_payload: {MAX_PAYLOAD_BYTES}
{PINGS}jetstream {{ store_dir: {json.dumps(place.store)} }}

authorization {{
  users: [
{users}
  ]
}}
"""


def _component(name: str, kind: str, askers: Iterable[str]) -> Rights:
    say = [*_signs(name), *(_inboxes(asker) for asker in askers), *_reads_key_value(subjects.CATALOG_BUCKET)]
    hear = [_inboxes(name), *_ALL_HEAR, subjects.do(name, "*"), subjects.order("*")]
    say += _reads_key_value(subjects.STANDBY_BUCKET)
    if kind in _READ_BLOBS:
        say += _reads_blobs()
    if kind in _AGENTS:
        say += [subjects.ROUTE, subjects.CANCELS, subjects.WHO]
        hear += [subjects.BEATS, subjects.GONE]
    return Rights(tuple(say), tuple(hear))


def _gateway() -> Rights:
    decisions, catalog = subjects.DECISION_STREAM, f"KV_{subjects.CATALOG_BUCKET}"
    say = [
        *_signs(GATEWAY),
        *(subjects.ROUTE, subjects.CANCELS, subjects.WHO, subjects.CONTROLLER),
        *(subjects.DECISIONS, subjects.FEEDBACK, subjects.SHADOWS),
        *_reads_key_value(subjects.CATALOG_BUCKET),
        *_reads_stream(catalog),  # `turnout history`
        *_reads_blobs(),
        *(f"$O.{subjects.BLOB_BUCKET}.>", f"$JS.API.STREAM.PURGE.OBJ_{subjects.BLOB_BUCKET}"),
        f"$JS.API.DIRECT.GET.{decisions}.>",
        *_replays(decisions, subjects.FEEDBACK_STREAM, subjects.SHADOW_STREAM, subjects.EVENT_STREAM),
    ]
    return Rights(tuple(say), (_inboxes(GATEWAY), *_ALL_HEAR, subjects.BEATS, subjects.GONE, subjects.EVENTS))


def _router(agents: Iterable[str]) -> Rights:
    askers = (_inboxes(name) for name in (GATEWAY, *agents))
    say = [*_signs(ROUTER), *askers, subjects.do("*", "*"), subjects.CANCELS, subjects.WHO, subjects.CONTROLLER]
    say += _reads_key_value(subjects.CATALOG_BUCKET)
    say += ["$JS.API.STREAM.NAMES", *_replays(subjects.FEEDBACK_STREAM), subjects.feedback("*", "verified")]
    hear = (_inboxes(ROUTER), *_ALL_HEAR, subjects.ROUTE, subjects.BEATS, subjects.GONE, subjects.FEEDBACK)
    return Rights(tuple(say), hear)


def _controller() -> Rights:
    say = ("turnout.v1.>", _inboxes(GATEWAY), "$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$KV.>", "$O.>")
    hear = (_inboxes(CONTROLLER), *_ALL_HEAR, subjects.BEATS, subjects.GONE, subjects.CONTROLLER, subjects.KEPT_ENDED)
    evidence = (subjects.DECISIONS, subjects.FEEDBACK, subjects.do("*", "*"))  # of generations on trial
    return Rights(say, (*hear, *evidence))


def _keeper() -> Rights:
    return Rights((_inboxes(CONTROLLER), subjects.KEPT_ENDED), (_inboxes(KEEPER), subjects.KEEPER))


_ALL_HEAR = (subjects.WHO, subjects.CANCELS, subjects.CATALOG_CHANGED)


def _signs(name: str) -> tuple[str, ...]:
    """Its signs of life. Nobody else can give them."""
    return subjects.beat(name, "*"), subjects.gone(name, "*")


def _inboxes(user: str) -> str:
    return f"_INBOX.{user}.>"


def _reads_key_value(bucket: str) -> tuple[str, ...]:
    return tuple(f"$JS.API.{what}.KV_{bucket}" for what in ("STREAM.INFO", "STREAM.MSG.GET"))


def _reads_stream(stream: str) -> tuple[str, ...]:
    """Through a consumer of its own, which is made, followed and deleted."""
    return (
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.>",
        f"$JS.API.CONSUMER.INFO.{stream}.*",
        f"$JS.API.CONSUMER.DELETE.{stream}.*",
        f"$JS.FC.{stream}.>",
    )


def _replays(*streams: str) -> tuple[str, ...]:
    """What was recorded, from the beginning, batch by batch."""
    return tuple(
        right for stream in streams for right in (*_reads_stream(stream), f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*")
    )


def _reads_blobs() -> tuple[str, ...]:
    stream = f"OBJ_{subjects.BLOB_BUCKET}"
    return (
        "$JS.API.STREAM.NAMES",
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.STREAM.MSG.GET.{stream}",
        *_reads_stream(stream),
    )


def _user(name: str, found: Rights) -> str:
    say, hear = json.dumps(found.say), json.dumps(found.hear)
    return f"""\
    {{
      user: {json.dumps(name)}, password: $pw_{name}
      permissions: {{
        publish: {say}
        subscribe: {hear}
      }}
    }}"""
