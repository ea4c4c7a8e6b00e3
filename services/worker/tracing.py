"""Spans, where somebody collects them: the standard `OTEL_*` environment switches them on, else nothing is paid.

A span is made where a task arrives (gateway, router, worker), as a child of the one its `traceparent` names, and takes
that place in the task that goes on. So one trace shows a request on its whole way, an agent's questions included.

Source: https://www.w3.org/TR/trace-context/, https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import msgspec
import structlog
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.contracts.errors import TurnoutError
from services.contracts.events import Usage
from services.contracts.messages import ChatRequest, EmbedRequest, Task

log = structlog.get_logger()

_FLUSH_S = 1.0  # a collector that is away must not hold up the end of a process
_SERVER_ERROR = 500
_PROPAGATOR = TraceContextTextMapPropagator()
_OPERATIONS = {ChatRequest: "chat", EmbedRequest: "embeddings"}
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces to be sent. Pure."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER", "").split(",")
    named = any(environment.get(name) for name in _ENDPOINTS)
    return "otlp" in (exporter.strip() for exporter in exporters) or (named and exporters == [""])


@contextmanager
def exporting(service: str) -> Iterator[None]:
    """Send this process's spans while the block runs, if the environment wants it. They go as OTLP over HTTP."""
    if not wanted(os.environ):
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        log.warning("no_traces", reason="OTEL_* asks for traces, but the extra is missing: pip install 'turnout[otel]'")
        yield
        return
    name = os.environ.get("OTEL_SERVICE_NAME", "turnout")
    about = {"service.name": name, "service.instance.id": service}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(_FLUSH_S)


def on() -> bool:
    """Whether spans are made in this process."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def span(name: str, traceparent: str, kind: SpanKind) -> Iterator[tuple[Span, str]]:
    """A span under the one that `traceparent` names, and the `traceparent` of what it does."""
    parent = _PROPAGATOR.extract({"traceparent": traceparent})
    tracer = trace.get_tracer("turnout")
    with tracer.start_as_current_span(name, parent, kind, record_exception=False) as made:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        yield made, carrier.get("traceparent", traceparent)


def work_span(task: Task, kind: str, component: str) -> AbstractContextManager[tuple[Span, Task]]:
    """The span of a component's work. That of a model is named, and is of the kind, that generative AI's spans have.

    Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
    """
    operation = _operation(task, kind)
    if operation is None:
        return task_span(f"do {component}", task)
    # The models of a cloud are called; others run in this process.
    return task_span(f"{operation} {component}", task, SpanKind.CLIENT if kind == "llm_cloud" else SpanKind.INTERNAL)


@contextmanager
def task_span(name: str, task: Task, kind: SpanKind = SpanKind.SERVER) -> Iterator[tuple[Span, Task]]:
    """The span of what is done with a task, and the task to go on with."""
    if not on():
        yield INVALID_SPAN, task
        return
    with span(name, task.traceparent, kind) as (made, traceparent):
        made.set_attributes({"turnout.request": task.root, "turnout.task": task.id})
        yield made, msgspec.structs.replace(task, traceparent=traceparent)


def note_model(made: Span, task: Task, kind: str, component: str, model: str, spent: Usage) -> None:
    """Which model was asked and what it took, in OpenTelemetry's words for generative AI. Never what was said.

    Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
    """
    operation = _operation(task, kind)
    if operation is None or not made.is_recording():
        return
    made.set_attributes(
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": kind,
            "gen_ai.request.model": component,
            "gen_ai.response.model": model,
            "gen_ai.usage.input_tokens": spent.input_tokens,
            "gen_ai.usage.output_tokens": spent.output_tokens,
            "turnout.component": component,
            "turnout.cost_usd": spent.cost_usd,
        }
    )
    if isinstance(task.request, ChatRequest) and (most := task.request.sampling.max_tokens) is not None:
        made.set_attribute("gen_ai.request.max_tokens", most)


def _operation(task: Task, kind: str) -> str | None:
    """What is asked of a model, in OpenTelemetry's words; None where it is no model that works."""
    operation = _OPERATIONS.get(type(task.request))
    return "invoke_agent" if operation and kind.endswith("_agent") else operation


def note_error(made: Span, error: TurnoutError) -> None:
    """What a span ended with. A refusal that is the caller's own doing is no failure of ours."""
    made.set_attribute("error.type", error.code)
    if error.status >= _SERVER_ERROR:
        made.set_status(Status(StatusCode.ERROR, error.message))
