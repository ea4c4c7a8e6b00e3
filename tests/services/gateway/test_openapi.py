"""The description of the API is that of the API: schemathesis makes requests from it and holds the answers to it."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
import uvloop
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from services.contracts.events import Delta, Embedded, Event, Finished, Found, Ingested, Passage, Usage
from services.contracts.messages import EmbedRequest, IngestRequest, SearchRequest, Task
from services.gateway.openapi import OPERATIONS, document
from services.gateway.routes import routes
from tests.services.gateway.support import Scripted, catalog, front

EXAMPLES = 40  # a path; all of them together take about half a minute
_MAY_BE_AWAY = frozenset({503, 504})


async def anything(task: Task) -> AsyncIterator[Event]:
    """The least good answer to every kind of request."""
    request = task.request
    if isinstance(request, EmbedRequest):
        yield Embedded(tuple(struct.pack("<2f", 0.6, 0.8) for _ in request.inputs), 2)
    elif isinstance(request, SearchRequest):
        yield Found((Passage("The desk closes at 18:45.", "desk.md", 1.0, page=3),))
    elif isinstance(request, IngestRequest):
        yield Ingested(tuple((one.source, 1) for one in request.documents), (("other.md", "not text"),))
    else:
        yield Delta("All is well.")
    yield Finished(Usage(5, 3, cost_usd=0.001))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A gateway in a thread of its own: schemathesis has no event loop."""
    found: list[str] = []
    started, done = threading.Event(), threading.Event()

    async def serve() -> None:
        component = Scripted(play=anything, slots=64)
        async with front({"small": component}, snapshot=catalog(header_timeout_s=5)) as gate:
            found.append(gate.url)
            started.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: uvloop.run(serve()), name="gateway", daemon=True)
    thread.start()
    try:
        assert started.wait(10), "the gateway did not start"
        yield found[0]
    finally:
        done.set()
        thread.join(10)


def narrowed() -> dict[str, Any]:
    """The description, with models that exist and messages that say something: else most requests would end there."""
    found = document()
    schemas = found["components"]["schemas"]
    for body in ("ChatBody", "ResponsesBody", "EmbedBody", "SearchBody"):
        schemas[body]["properties"]["model"] = {"enum": ["auto", "small", "nobody"]}
    message = schemas["MessageIn"]
    message["required"].append("content")
    text, parts, _ = message["properties"]["content"]["anyOf"]
    message["properties"]["content"]["anyOf"] = [{**text, "minLength": 1}, parts]
    message["properties"]["role"]["enum"] = ["user", "assistant", "system", "developer"]
    del found["paths"]["/admin/events"]["get"]["parameters"]  # an answer that goes on for ever is none to be checked
    return found


schema = schemathesis.openapi.from_dict(narrowed())


@schemathesis.serializer("application/pdf", "application/yaml")
def something_that_is_neither(_context: object, value: object) -> bytes:
    return repr(value).encode()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_description_promises(case: schemathesis.Case[Any], url: str) -> None:
    response = case.call(base_url=url, timeout=20)
    status = response.status_code
    assert status < 500 or status in _MAY_BE_AWAY, response.text
    # Some parameters exclude each other, which the description says in words only.
    case.validate_response(response, excluded_checks=[not_a_server_error, positive_data_acceptance])
    if status >= 400 and case.path != "/health/ready":
        assert response.json()["error"]["message"]


def test_a_record_and_a_component_are_as_described(url: str) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, trust_env=False)
    found = {"/v1/decisions/{id}": answer.headers["x-turnout-decision-id"], "/v1/models/{id}": "small"}
    for path, name in found.items():
        case = schema[path]["GET"].Case(path_parameters={"id": name})
        assert case.call_and_validate(base_url=url).status_code == 200


def test_every_path_is_described_and_no_other() -> None:
    every = routes(None)  # type: ignore[arg-type]  # the paths need no edge
    served = {(method.lower(), route.path) for route in every for method in route.methods or () if method != "HEAD"}
    assert {(operation.method, operation.path) for operation in OPERATIONS} == served


def test_it_is_served(url: str) -> None:
    answer = httpx.get(f"{url}/openapi.json", trust_env=False)
    assert answer.json() == json.loads(json.dumps(document()))
