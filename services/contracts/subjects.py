"""NATS subjects, all under `turnout.v1`. The only place that spells them.

A component is addressed by instance (`do`), never by a shared queue: the router chooses who works.
"""

from __future__ import annotations

ROUTE = "turnout.v1.route"
ROUTE_QUEUE = "routers"
WHO = "turnout.v1.who"  # "everyone, send a beat now": lets a newcomer learn the roster at once
BEATS = "turnout.v1.beat.>"
GONE = "turnout.v1.gone.>"
CANCELS = "turnout.v1.cancel.*"
DECISIONS = "turnout.v1.decision.>"

CATALOG_BUCKET = "turnout_catalog"
CATALOG_KEY = "current"
BLOB_BUCKET = "turnout_blobs"
DECISION_STREAM = "turnout_decisions"


def do(component: str, instance: str) -> str:
    """Where one instance takes work."""
    return f"turnout.v1.do.{component}.{instance}"


def beat(component: str, instance: str) -> str:
    """Where one instance says that it lives."""
    return f"turnout.v1.beat.{component}.{instance}"


def gone(component: str, instance: str) -> str:
    """Where a supervisor says that an instance has died, sooner than its silence would."""
    return f"turnout.v1.gone.{component}.{instance}"


def cancel(root: str) -> str:
    """Stops every task that descends from request `root`."""
    return f"turnout.v1.cancel.{root}"


def decision(root: str) -> str:
    """Where the record of one request is kept."""
    return f"turnout.v1.decision.{root}"
