"""When spans are made, and that nothing happens to a task where they are not."""

from __future__ import annotations

import time

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import INVALID_SPAN

from services.contracts.events import Usage
from services.contracts.messages import ChatRequest, Message, Sampling, SearchRequest, Task
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


def test_a_model_is_named_with_what_it_took_and_without_what_was_said() -> None:
    request = ChatRequest((Message("user", "a secret"),), sampling=Sampling(max_tokens=9))
    task = Task("a", "a", "auto", request, "inbox", time.time() + 1)
    span = TracerProvider().get_tracer("test").start_span("chat small")
    assert isinstance(span, ReadableSpan)
    tracing.note_model(span, task, "llm_local", "small", "SmolLM2", Usage(3, 5, cost_usd=0.25))
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "llm_local",
        "gen_ai.request.model": "small",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.response.model": "SmolLM2",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
        "turnout.component": "small",
        "turnout.cost_usd": 0.25,
    }


def test_what_is_no_model_bears_no_such_names() -> None:
    task = Task("a", "a", "docs", SearchRequest("x"), "inbox", time.time() + 1)
    span = TracerProvider().get_tracer("test").start_span("do docs")
    assert isinstance(span, ReadableSpan)
    tracing.note_model(span, task, "retrieval", "docs", "e5", Usage())
    assert not span.attributes
