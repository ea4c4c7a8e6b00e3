"""What `GET /metrics` shows: the gateway's own counts, and the roster as it stands when asked.

Labels come from the catalog and the roster only, so that no stranger can make the number of series grow. An instance is
named in `component_instance`: `instance` is Prometheus's own label, the gateway that it has asked, and ours would be
renamed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.bus.call import ROUTER
from services.contracts.beat import Beat
from services.contracts.events import Usage
from services.gateway.generations import draining_s, generations

CONTENT_TYPE = b"text/plain; version=1.0.0; charset=utf-8"
_LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_MAX_FACTS = 64
_NOBODY = "none"
_INSTANCE = "component_instance"
_NOT_ASKED = frozenset({"gateway", ROUTER})


class Metrics:
    """The gateway's counters, in a registry of their own."""

    def __init__(self, roster: Callable[[], list[Beat]]) -> None:
        self._roster = roster
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "turnout_requests", "Answered HTTP requests", ("route", "component", "status"), registry=self._registry
        )
        self._latency = Histogram(
            "turnout_request_seconds",
            "Time from request to end of answer",
            ("route", "component"),
            buckets=_LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._first_token = Histogram(
            "turnout_first_token_seconds",
            "Time from request to first event of the answer",
            ("component",),
            buckets=_LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._tokens = Counter(
            "turnout_tokens", "Tokens of finished answers", ("component", "direction"), registry=self._registry
        )
        self._cost = Counter("turnout_cost_usd", "Cost of finished answers", ("component",), registry=self._registry)
        self._in_flight = Gauge("turnout_in_flight", "Requests being served", registry=self._registry)
        self._dropped = Counter(
            "turnout_decisions_dropped", "Decision records lost because the bus was too slow", registry=self._registry
        )
        self._resumed = Counter(
            "turnout_streams_resumed", "Streams that another instance went on with", registry=self._registry
        )
        self._registry.register(_RosterCollector(roster))
        ProcessCollector(registry=self._registry)
        self.in_flight = 0
        # Looking a series up by its labels costs more than counting; the number of keys is bounded like the labels.
        self._ends: dict[tuple[str, str, int], tuple[Counter, Histogram, Histogram]] = {}
        self._spent: dict[str, tuple[Counter, Counter, Counter, Counter]] = {}

    def begin(self) -> None:
        """A request has arrived."""
        self.in_flight += 1

    def end(self, route: str, component: str, status: int, elapsed_s: float, first_token_s: float | None) -> None:
        """A request has ended. `route` is a path template, never a path."""
        self.in_flight -= 1
        key = (route, component or _NOBODY, status)
        if (series := self._ends.get(key)) is None:
            series = self._ends[key] = (
                self._requests.labels(*key),
                self._latency.labels(*key[:2]),
                self._first_token.labels(key[1]),
            )
        requests, latency, first_token = series
        requests.inc()
        latency.observe(elapsed_s)
        if first_token_s is not None:
            first_token.observe(first_token_s)

    def resume(self, times: int) -> None:
        """A stream was gone on with so often."""
        self._resumed.inc(times)

    def spend(self, component: str, usage: Usage) -> None:
        """An answer has been paid for."""
        series = self._spending(component)
        amounts = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd)
        for counter, amount in zip(series, amounts, strict=True):
            if amount > 0:
                counter.inc(amount)

    def _spending(self, component: str) -> tuple[Counter, Counter, Counter, Counter]:
        if (series := self._spent.get(component)) is None:
            read, written, cached = (self._tokens.labels(component, way) for way in ("input", "output", "cached"))
            series = self._spent[component] = (read, written, cached, self._cost.labels(component))
        return series

    def drop_decision(self) -> None:
        """A decision could not be recorded."""
        self._dropped.inc()

    def render(self) -> bytes:
        """Everything in Prometheus's text form.

        What a component has spent is shown from nothing on: who compares two readings would miss its first answer,
        if the series began with it.
        """
        for beat in self._roster():
            if beat.component not in _NOT_ASKED:
                self._spending(beat.component)
        self._in_flight.set(self.in_flight)
        return generate_latest(self._registry)


class _RosterCollector(Collector):
    """Series made afresh from the roster: those of an instance that is gone are gone too."""

    def __init__(self, roster: Callable[[], list[Beat]]) -> None:
        self._roster = roster

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        beats = self._roster()
        yield self._gauge(beats, "up", "1 when the instance takes work", lambda b: float(b.state == "ready"))
        yield self._gauge(beats, "slots", "Requests it works on at once", lambda b: b.slots)
        yield self._gauge(beats, "in_use", "Slots taken", lambda b: b.in_use)
        yield self._gauge(beats, "queued", "Requests waiting for a slot", lambda b: b.queued)
        yield self._gauge(beats, "queue_wait_seconds", "Recent mean wait for a slot", lambda b: b.speed.waited_s)
        yield self._gauge(beats, "service_seconds", "Recent mean time in a slot", lambda b: b.speed.service_s)
        yield self._gauge(
            beats, "first_event_seconds", "Recent mean time to the first event", lambda b: b.speed.first_event_s
        )
        yield self._counter(beats, "input_tokens", "Tokens read since it started", lambda b: b.totals.input_tokens)
        yield self._counter(beats, "output_tokens", "Tokens written since it started", lambda b: b.totals.output_tokens)
        yield self._counter(beats, "requests", "Requests since it started", lambda b: b.totals.requests)
        yield self._counter(beats, "errors", "Failed requests since it started", lambda b: b.totals.errors)
        yield self._counter(beats, "cost_usd", "Cost since it started", lambda b: b.totals.cost_usd)
        prices = GaugeMetricFamily(
            "turnout_component_price_usd_per_mtok",
            "What a million of its tokens costs",
            labels=("component", _INSTANCE, "direction"),
        )
        for beat in beats:
            prices.add_metric((beat.component, beat.instance, "input"), beat.price.input_usd_per_mtok)
            prices.add_metric((beat.component, beat.instance, "output"), beat.price.output_usd_per_mtok)
        yield prices
        facts = GaugeMetricFamily(
            "turnout_component_fact", "What an instance tells of itself", labels=("component", _INSTANCE, "fact")
        )
        for beat in beats:
            for name, value in list(beat.facts.items())[:_MAX_FACTS]:
                facts.add_metric((beat.component, beat.instance, name), value)
        yield facts
        yield from _generations(beats, time.time())

    @staticmethod
    def _gauge(beats: list[Beat], name: str, text: str, value: Callable[[Beat], float]) -> Metric:
        family = GaugeMetricFamily(f"turnout_component_{name}", text, labels=("component", _INSTANCE))
        for beat in beats:
            family.add_metric((beat.component, beat.instance), value(beat))
        return family

    @staticmethod
    def _counter(beats: list[Beat], name: str, text: str, value: Callable[[Beat], float]) -> Metric:
        family = CounterMetricFamily(f"turnout_component_{name}", text, labels=("component", _INSTANCE))
        for beat in beats:
            family.add_metric((beat.component, beat.instance), value(beat))
        return family


def _generations(beats: list[Beat], now_s: float) -> Iterator[Metric]:
    """What a swap looks like: which generations there are, in which state, and what is on its way out."""
    instances = GaugeMetricFamily(
        "turnout_generation_instances",
        "Instances of a generation in a state",
        labels=("component", "generation", "state"),
    )
    share = GaugeMetricFamily(
        "turnout_generation_share",
        "Share of the requests it takes beside an older generation",
        labels=("component", "generation"),
    )
    for it in generations(beats, now_s):
        for state, count in it.states.items():
            instances.add_metric((it.component, str(it.generation), state), count)
        share.add_metric((it.component, str(it.generation)), it.share)
    draining = GaugeMetricFamily(
        "turnout_component_draining_seconds",
        "Time since an instance that leaves takes nothing new",
        labels=("component", _INSTANCE, "generation"),
    )
    for beat in beats:
        if (seconds := draining_s(beat, now_s)) is not None:
            draining.add_metric((beat.component, beat.instance, str(beat.generation)), seconds)
    yield from (instances, share, draining)
