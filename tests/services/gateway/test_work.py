"""The endpoints beside chat: embeddings, documents, search."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator

import openai
import pytest

from services.bus.memory import MemoryBus
from services.contracts.errors import ComponentUnavailable
from services.contracts.events import Delta, Embedded, Event, Finished, Found, Ingested, Passage, Usage
from services.contracts.messages import EmbedRequest, IngestRequest, SearchRequest, Task
from tests.services.gateway.support import Scripted, catalog, front


async def work(task: Task) -> AsyncIterator[Event]:
    request = task.request
    if isinstance(request, EmbedRequest):
        yield Embedded(tuple(struct.pack("<3f", 0.5, -0.25, len(text)) for text in request.inputs), 3)
    elif isinstance(request, SearchRequest):
        yield Found(tuple(Passage(f"about {request.query}", "a.md", 1.0 / n) for n in range(1, request.k + 1)))
    elif isinstance(request, IngestRequest):
        (document,) = request.documents
        if document.mime == "text/markdown":
            yield Ingested(((document.source, document.blob.size_bytes),))
        else:
            yield Ingested((), ((document.source, "unknown kind"),))
    else:
        yield Delta("?")
    yield Finished(Usage(input_tokens=7, cost_usd=0.125))


async def test_embeddings_as_the_official_client_asks_for_them() -> None:
    async with front({"docs": Scripted(work)}) as gate:
        raw = await gate.openai().embeddings.with_raw_response.create(model="auto", input=["a", "bb"])
        answer = raw.parse()
    assert [item.embedding for item in answer.data] == [[0.5, -0.25, 1.0], [0.5, -0.25, 2.0]]
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 7
    assert raw.headers["x-turnout-component"] == "docs"
    assert raw.headers["x-turnout-cost-usd"] == "0.1250000000"


async def test_embeddings_as_floats_and_as_base64_are_the_same() -> None:
    async with front({"docs": Scripted(work)}) as gate, gate.http() as client:
        body = {"model": "docs", "input": "abc", "turnout": {"purpose": "query"}}
        floats = (await client.post("/v1/embeddings", json={**body, "encoding_format": "float"})).json()
        packed = (await client.post("/v1/embeddings", json={**body, "encoding_format": "base64"})).json()
        request = gate.router.tasks[-1].request
    assert floats["data"][0]["embedding"] == [0.5, -0.25, 3.0]
    assert struct.unpack("<3f", base64.b64decode(packed["data"][0]["embedding"])) == (0.5, -0.25, 3.0)
    assert isinstance(request, EmbedRequest)
    assert request.purpose == "query"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"input": [None]}, "input[0]"),
        ({"input": ["x"] * 3000}, "input"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 5}, "dimensions"),
        ({"input": "a", "api_base": "x"}, "api_base"),
        ({}, "input"),
    ],
)
async def test_embeddings_that_cannot_be_made_are_refused(body: dict[str, object], param: str) -> None:
    async with front({"docs": Scripted(work)}) as gate, gate.http() as client:
        answer = await client.post("/v1/embeddings", json={"model": "auto", **body})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
        with pytest.raises(openai.NotFoundError):
            await gate.openai().embeddings.create(model="ghost", input="a")


@pytest.mark.parametrize("size", [10, 700_000])
async def test_a_document_is_ingested_whatever_its_size(size: int) -> None:
    bus = MemoryBus()
    async with front({"docs": Scripted(work)}, bus=bus) as gate, gate.http() as client:
        answer = await client.post(
            "/v1/documents",
            params={"source": "notes/über 1.md"},
            content=b"x" * size,
            headers={"content-type": "text/markdown; charset=utf-8"},
        )
        assert answer.json()["documents"] == [["notes/über 1.md", size]]
        assert answer.json()["refused"] == []
        for task in tuple(gate.edge.images._cleaning):
            await task
    assert bus._blobs == {}


async def test_a_document_the_component_refuses_is_named_with_the_reason() -> None:
    async with front({"docs": Scripted(work)}) as gate, gate.http() as client:
        answer = await client.post("/v1/documents?source=a", content=b"x", headers={"content-type": "x/y"})
    assert answer.json()["refused"] == [["a", "unknown kind"]]


@pytest.mark.parametrize(
    ("query", "kind", "content", "status"),
    [
        ("", "text/markdown", b"x", 400),
        ("source=", "text/markdown", b"x", 400),
        ("source=a&source=b", "text/markdown", b"x", 400),
        ("source=a%00b", "text/markdown", b"x", 400),
        ("source=" + "a" * 2000, "text/markdown", b"x", 400),
        ("source=%ff", "text/markdown", b"x", 400),
        ("source=a&evil=1", "text/markdown", b"x", 400),
        ("source=a", "", b"x", 400),
        ("source=a", "text/markdown", b"", 400),
        ("source=a", "text/markdown", b"x" * 3000, 413),
    ],
)
async def test_a_malformed_document_is_refused(query: str, kind: str, content: bytes, status: int) -> None:
    async with (
        front({"docs": Scripted(work)}, snapshot=catalog(max_body_bytes=2048)) as gate,
        gate.http() as client,
    ):
        answer = await client.post(f"/v1/documents?{query}", content=content, headers={"content-type": kind})
        assert answer.status_code == status
        assert gate.router.tasks == []


async def test_search_gives_passages_with_source_and_score() -> None:
    async with front({"docs": Scripted(work)}) as gate, gate.http() as client:
        answer = (await client.post("/v1/search", json={"query": "points", "k": 2})).json()
        assert [(p["source"], p["score"]) for p in answer["passages"]] == [("a.md", 1.0), ("a.md", 0.5)]
        assert answer["turnout"]["component"] == "docs"
        assert (await client.post("/v1/search", json={"query": ""})).status_code == 400
        assert (await client.post("/v1/search", json={"query": "x", "k": 0})).status_code == 400
        gate.router.refuse = ComponentUnavailable("gone")
        assert (await client.post("/v1/search", json={"query": "x"})).status_code == 503


async def test_an_answer_of_the_wrong_kind_is_our_defect_and_not_a_broken_answer() -> None:
    async def play(task: Task) -> AsyncIterator[Event]:
        yield Delta("hello")
        yield Finished(Usage(1, 1))

    async with front({"docs": Scripted(play)}) as gate, gate.http() as client:
        for path, body in (("/v1/embeddings", {"model": "auto", "input": "a"}), ("/v1/search", {"query": "a"})):
            answer = await client.post(path, json=body)
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "internal_error"
