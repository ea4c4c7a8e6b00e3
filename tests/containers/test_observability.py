"""Prometheus itself reads the gateway, and takes every query that we ship: those of the dashboard, those of KEDA.

Grafana and KEDA are not here, only what they would ask: their queries are read from their files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import openai
import pytest
import yaml

from tests.containers.deployment import Deployment, eventually
from tests.containers.prometheus import FOLDER, Prometheus, Row, panel, panels, triggers, watched
from tests.containers.test_changes import asked_all_the_time
from tests.containers.test_security import inside

ASKED = frozenset({"small", "cloud", "tools"})
NUMBER = ("", frozenset({""}))
COMPONENTS = ("component", ASKED)
EVERYTHING = frozenset({"small", "cloud", "claude", "eyes", "docs", "tools", "screen", "router", "gateway"})
SHOWS: Mapping[str, tuple[str, frozenset[str]]] = {
    "Saved": NUMBER,
    "Spent": NUMBER,
    "Requests per second": NUMBER,
    "Failed": NUMBER,  # 0 where nothing failed
    "Swaps": NUMBER,  # 0: without a driver, containers are started again and make no new generation
    "Requests by component": COMPONENTS,
    "Refused and failed by status": ("status", frozenset({"401", "404"})),  # empty where nobody is refused
    "Duration, p50 and p95": COMPONENTS,
    "Time to first token, p50 and p95": COMPONENTS,
    "Requests waiting for a slot": ("component", EVERYTHING),
    "Slots taken": ("component", EVERYTHING),
    "Instances that serve": ("component", EVERYTHING),
    "Cost by component": COMPONENTS,
    "Swaps: instances by generation": ("component", EVERYTHING - {"router", "gateway"}),
    "Streams that another instance went on with": NUMBER,  # 0: none has lost its instance, or those of other tests
    "Decision records lost": NUMBER,  # 0 while the bus keeps up
}
"""By the title of a panel: the label that tells its lines apart, and which of them have a number after the traffic."""

COUNTERS = {
    "requests": 'sum by (component) (turnout_requests_total{route="/v1/chat/completions",status="200"})',
    "first tokens": "sum by (component) (turnout_first_token_seconds_count)",
    "seconds": 'sum by (component) (turnout_request_seconds_sum{route="/v1/chat/completions"})',
    "seconds to first token": "sum by (component) (turnout_first_token_seconds_sum)",
    "input": 'sum by (component) (turnout_tokens_total{direction="input"})',
    "output": 'sum by (component) (turnout_tokens_total{direction="output"})',
    "usd": "sum by (component) (turnout_cost_usd_total)",
    "worked on": "sum by (component) (turnout_component_requests_total)",
}
ROUNDS = 2  # a series that begins with the first has no rate before the second


@dataclass(frozen=True)
class Traffic:
    """What was asked while Prometheus watched, and what it counted meanwhile.

    Attributes:
        each: requests to each of the components.
        took_s: how long a component's requests took together, for who asked.
        counted: by the name of a counter and the component, what was added to it.
    """

    each: int
    took_s: Mapping[str, float]
    counted: Mapping[str, Mapping[str, float]]


@pytest.fixture(scope="module")
def prometheus(system: Deployment) -> Iterator[Prometheus]:
    with watched(system) as it:
        yield it


@pytest.fixture(scope="module")
def twice(system: Deployment) -> Iterator[None]:
    """Two instances of a component, so that what is summed over instances is more than one."""
    system.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "tools=2", "tools")
    eventually(lambda: len(system.ready("tools")) == 2, "two instances serve")
    yield
    system.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "tools=1", "tools")
    eventually(lambda: len(system.ready("tools")) == 1, "one instance serves")


@pytest.fixture(scope="module")
def traffic(system: Deployment, prometheus: Prometheus, twice: None) -> Traffic:
    has_read(prometheus)
    before, took_s = counters(prometheus), dict.fromkeys(ASKED, 0.0)
    for _ in range(ROUNDS):
        for component in sorted(ASKED):
            began_s = time.monotonic()
            ask(system, component)
            took_s[component] += time.monotonic() - began_s
        with pytest.raises(openai.NotFoundError):
            ask(system, "nobody-by-this-name")
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{system.url}/v1", api_key="wrong", max_retries=0).models.list()
        has_read(prometheus)
    after = counters(prometheus)
    counted = {name: {c: rows[c] - before[name].get(c, 0.0) for c in ASKED} for name, rows in after.items()}
    return Traffic(ROUNDS * 2, took_s, counted)


def ask(system: Deployment, model: str) -> None:
    """Two requests: an answer in one piece and a streamed one."""
    chat: Any = system.client().chat.completions
    for stream in (False, True):
        answer = chat.create(
            model=model, messages=[{"role": "user", "content": "What is 12 * 12?"}], max_tokens=8, stream=stream
        )
        assert list(answer)


def has_read(prometheus: Prometheus) -> None:
    """Return when it has read the metrics once more, as they are after what has been asked so far."""
    # An answer's end is counted after it was sent, and a worker tells of it half a second later.
    now_s = time.time() + 0.75
    eventually(lambda: prometheus.number("max(timestamp(turnout_in_flight))") > now_s, "it has read them")


def counters(prometheus: Prometheus) -> dict[str, dict[str, float]]:
    return {name: prometheus.by_component(query) for name, query in COUNTERS.items()}


def test_it_runs_by_our_file_and_reads_the_gateway_with_its_own_key(system: Deployment, prometheus: Prometheus) -> None:
    (container,) = system.containers("prometheus")
    assert container["Config"]["User"] == "65534:65534"
    assert container["HostConfig"]["ReadonlyRootfs"]
    assert [mount["Destination"] for mount in container["Mounts"] if mount["RW"]] == ["/prometheus"]
    (target,) = prometheus.targets()
    (gateway,) = system.containers("gateway")
    addresses = {network["IPAddress"] for network in gateway["NetworkSettings"]["Networks"].values()}
    assert target["labels"]["job"] == "turnout"
    assert target["scrapeUrl"] in {f"http://{address}:8080/metrics" for address in addresses}
    assert (target["health"], target["lastError"]) == ("up", "")
    assert prometheus.number('up{job="turnout"}') == 1


def test_it_is_where_grafana_looks_for_it(system: Deployment, prometheus: Prometheus) -> None:
    """From a container of the same network: the address in Grafana's file."""
    (source,) = yaml.safe_load((FOLDER / "source.yaml").read_text())["datasources"]
    uids = {it["datasource"]["uid"] for it in json.loads((FOLDER / "turnout.json").read_text())["panels"]}
    assert uids == {source["uid"]}
    ask_it = f"import urllib.request as u; print(u.urlopen('{source['url']}/-/ready', timeout=5).status)"
    assert inside(system, "gateway", ask_it) == "200"


@pytest.mark.parametrize(
    ("title", "query"), [pytest.param(*it, id=f"{number} {it[0]}") for number, it in enumerate(panels())]
)
def test_a_panel_of_the_dashboard_shows_what_there_is(
    prometheus: Prometheus, traffic: Traffic, title: str, query: str
) -> None:
    label, lines = SHOWS[title]
    rows = prometheus.ask(query)
    shown = {row.labels.get(label, "") for row in rows if row.is_number}
    assert lines <= shown, rows


@pytest.mark.parametrize("component", list(triggers()))
def test_kedas_query_gives_one_number(prometheus: Prometheus, traffic: Traffic, component: str) -> None:
    (row,) = prometheus.ask(triggers()[component]["query"])
    assert row == Row({}, row.value)
    assert row.is_number


def test_what_was_asked_is_what_it_has_counted(traffic: Traffic) -> None:
    counted = traffic.counted
    assert counted["requests"] == counted["first tokens"] == dict.fromkeys(ASKED, traffic.each)
    # The vendor of the tests says 9 tokens in and 7 out each time, at 1 and 4 USD a million.
    assert (counted["input"]["cloud"], counted["output"]["cloud"]) == (9 * traffic.each, 7 * traffic.each)
    assert counted["usd"]["cloud"] == pytest.approx(traffic.each * (9 * 1.0 + 7 * 4.0) / 1e6)
    small = counted["input"]["small"] * 0.005 + counted["output"]["small"] * 0.02
    assert counted["usd"]["small"] == pytest.approx(small / 1e6)
    assert 0 < counted["output"]["small"] <= 8 * traffic.each
    for component in ASKED:
        assert counted["worked on"][component] == traffic.each  # over all of its instances
        assert 0 < counted["seconds to first token"][component] <= counted["seconds"][component]
        assert counted["seconds"][component] <= traffic.took_s[component]


def test_saved_is_the_difference_to_the_dearest_that_serves(
    system: Deployment, prometheus: Prometheus, traffic: Traffic
) -> None:
    """Not to `claude`: its tokens are dearer, but it has no key and serves nobody."""
    now_s = prometheus.number("max(timestamp(turnout_in_flight))")
    (cloud,) = system.ready("cloud")
    assert (cloud["price"]["input_usd_per_mtok"], cloud["price"]["output_usd_per_mtok"]) == (1.0, 4.0)

    def increase(series: str) -> float:
        return prometheus.number(f"sum(increase({series}[5m]))", now_s)

    best = increase('turnout_tokens_total{direction="input"}') * 1.0
    best += increase('turnout_tokens_total{direction="output"}') * 4.0
    saved = prometheus.number(panel("Saved"), now_s)
    assert saved == pytest.approx(best / 1e6 - increase("turnout_cost_usd_total"))
    assert saved > 0  # what `small` has answered


def test_the_instances_of_a_component_are_told_apart(prometheus: Prometheus, traffic: Traffic) -> None:
    serving = prometheus.by_component(panel("Instances that serve"))
    assert {name: serving[name] for name in ("tools", "small", "claude")} == {"tools": 2, "small": 1, "claude": 0}
    generations = prometheus.ask(panel("Swaps: instances by generation"))
    assert [row.value for row in generations if row.labels["component"] == "tools"] == [2]


def test_who_waits_is_seen_and_more_than_kedas_threshold(
    system: Deployment, prometheus: Prometheus, traffic: Traffic
) -> None:
    trigger, limit_s = triggers()["small"], 30
    with asked_all_the_time(system, "small", askers=7) as load:  # it has 4 slots
        eventually(lambda: prometheus.number(trigger["query"]) > float(trigger["threshold"]), "KEDA acts", limit_s)
        waiting, taken = panel("Requests waiting for a slot"), panel("Slots taken")
        eventually(lambda: prometheus.by_component(waiting)["small"] > 0, "some wait", limit_s)
        eventually(lambda: prometheus.by_component(taken)["small"] == 1, "all slots are taken", limit_s)
    assert load.failed == []
    eventually(lambda: prometheus.number(trigger["query"]) == 0, "nobody waits any more", limit_s)
