"""When spans are made, and that nothing happens to a task where they are not."""

from __future__ import annotations

import time

import pytest
from opentelemetry.trace import INVALID_SPAN

from services.contracts.messages import SearchRequest, Task
from services.worker import tracing

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        (HERE, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({**HERE, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**HERE, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_SERVICE_NAME": "turnout"}, False),
    ],
)
def test_the_standard_environment_switches_them_on(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(environment) is wanted


def test_where_nobody_collects_the_task_goes_on_as_it_is() -> None:
    task = Task(
        "a", "a", "auto", SearchRequest("x"), "inbox", time.time() + 1, traceparent=f"00-{'a' * 32}-{'b' * 16}-01"
    )
    with tracing.task_span("route", task) as (span, same):
        assert same is task
        assert span is INVALID_SPAN


def test_without_a_wish_nothing_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*HERE, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    with tracing.exporting("router-1"):
        assert not tracing.on()
