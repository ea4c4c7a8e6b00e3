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
SHADOWS = "turnout.v1.shadow.>"
FEEDBACK = "turnout.v1.feedback.>"
CONTROLLER = "turnout.v1.controller"  # commands to the one controller
EVENTS = "turnout.v1.event.>"  # what happens to what runs
CATALOG_CHANGED = "turnout.v1.catalog"  # "a new revision is in force": those who poll look at once
KEEPER = "turnout.v1.keeper"  # the controller asks for containers
KEPT_ENDED = "turnout.v1.ended.*"  # the keeper says that one has ended

CATALOG_BUCKET = "turnout_catalog"
CATALOG_KEY = "current"
STANDBY_BUCKET = "turnout_standby"  # the catalog that instances on stand-by are built from
SCALE_BUCKET = "turnout_scale"  # how many instances of each component were chosen
SCALE_KEY = "current"
BLOB_BUCKET = "turnout_blobs"
DECISION_STREAM = "turnout_decisions"
FEEDBACK_STREAM = "turnout_feedback"
SHADOW_STREAM = "turnout_shadows"
EVENT_STREAM = "turnout_events"


def do(component: str, instance: str) -> str:
    """Where one instance takes work."""
    return f"turnout.v1.do.{component}.{instance}"


def beat(component: str, instance: str) -> str:
    """Where one instance says that it lives."""
    return f"turnout.v1.beat.{component}.{instance}"


def gone(component: str, instance: str) -> str:
    """Where a supervisor says that an instance has died, sooner than its silence would."""
    return f"turnout.v1.gone.{component}.{instance}"


def order(instance: str) -> str:
    """Where one instance is told to serve or to leave."""
    return f"turnout.v1.order.{instance}"


def ended(instance: str) -> str:
    """Where the keeper of containers says that one has ended."""
    return f"turnout.v1.ended.{instance}"


def cancel(root: str) -> str:
    """Stops every task that descends from request `root`."""
    return f"turnout.v1.cancel.{root}"


def decision(root: str) -> str:
    """Where the record of one request is kept."""
    return f"turnout.v1.decision.{root}"


def feedback(decision_id: str, source: str) -> str:
    """Where the verdict of one source on one answer is kept."""
    return f"turnout.v1.feedback.{decision_id}.{source}"


def event(name: str) -> str:
    """Where one thing that has happened is kept."""
    return f"turnout.v1.event.{name}"


def shadow(decision_id: str) -> str:
    """Where the two answers to one request are kept (`router.shadow`)."""
    return f"turnout.v1.shadow.{decision_id}"
