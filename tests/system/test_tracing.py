"""One trace shows a request on its whole way, through an agent and back, in a collector that speaks OTLP over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.running import eventually, free_port, running
from tests.support.upstream import Behaviour, running_upstream

pytestmark = pytest.mark.system

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    url: str = ""
    spans: list[Span] = field(default_factory=list)

    def of(self, trace_id: str) -> dict[str, Span]:
        """The spans of a trace by their ids."""
        return {span.span_id.hex(): span for span in tuple(self.spans) if span.trace_id.hex() == trace_id}


@contextmanager
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            sent = ExportTraceServiceRequest.FromString(body)
            found.spans += [one for about in sent.resource_spans for scope in about.scope_spans for one in scope.spans]
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def config(base_url: str) -> dict[str, Any]:
    cloud = {
        "kind": "llm_cloud",
        "base_url": base_url,
        "model": "m",
        "price": {"input_usd_per_mtok": 1.0},
        "retries": 0,
    }
    return {"version": 1, "components": {"cloud": cloud, "tools": {"kind": "tool_agent"}}}


def path(spans: dict[str, Span], leaf: Span) -> list[str]:
    """Names from the root down to a span."""
    names = [leaf.name]
    while (parent := spans.get(leaf.parent_span_id.hex())) is not None:
        leaf = parent
        names.insert(0, leaf.name)
    return names


def ask(url: str, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Tell me a story of two mice, please."}]}
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30, trust_env=False)


def test_a_request_is_one_trace_through_every_process() -> None:
    with running_upstream() as upstream, collector() as collected:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with running(config(upstream.base_url), environment=environment) as system:
            answer = ask(system.url, "tools")
            assert answer.status_code == 200, answer.text
            spans: dict[str, Span] = eventually(
                lambda: len(found := collected.of(TRACE)) >= 5 and found, what="5 spans"
            )
            (leaf,) = [span for span in spans.values() if span.name == "chat cloud"]
            assert path(spans, leaf) == [
                "POST /v1/chat/completions",
                "route",
                "invoke_agent tools",
                "route",
                "chat cloud",
            ]
            (root,) = [span for span in spans.values() if span.name.startswith("POST")]
            assert root.parent_span_id.hex() == CALLER
            decision = system.decision(answer.headers["x-turnout-decision-id"])
            assert decision["trace_id"] == TRACE
            # As OpenTelemetry's conventions for generative AI want it: a cloud is called, an agent runs in its process.
            kinds = {span.name: span.kind for span in spans.values()}
            assert kinds["chat cloud"] == Span.SPAN_KIND_CLIENT
            assert kinds["invoke_agent tools"] == Span.SPAN_KIND_INTERNAL
            assert kinds["route"] == Span.SPAN_KIND_SERVER

            collected.spans.clear()
            upstream.always = Behaviour(status=500)
            assert ask(system.url, "cloud").status_code >= 500
            (failed,) = eventually(
                lambda: [s for s in collected.of(TRACE).values() if s.name == "chat cloud"], what="the failed span"
            )
            assert failed.status.code == failed.status.STATUS_CODE_ERROR
            assert {one.key for one in failed.attributes} >= {"error.type", "turnout.task", "turnout.request"}
            assert upstream.requests


def test_a_collector_that_is_away_disturbs_nobody() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with running_upstream() as upstream, running(config(upstream.base_url), environment=environment) as system:
        assert ask(system.url, "cloud").status_code == 200
        assert ask(system.url, "cloud").status_code == 200
