"""The component on a real bus, with its real index and its real embedding model."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from services.bus.port import Bus
from services.contracts.catalog import Replicas, Retrieval
from services.contracts.errors import InvalidRequest, Unsupported
from services.contracts.events import Delta, Embedded, Event, Finished, Found, Ingested, Passage
from services.contracts.messages import (
    Blob,
    ChatRequest,
    Document,
    EmbedRequest,
    IngestRequest,
    Message,
    Request,
    ResponseFormat,
    Sampling,
    SearchRequest,
    ToolSpec,
)
from services.retrieval.service import RetrievalService, build
from services.worker.service import Surroundings
from tests.services.retrieval.pdfs import pdf
from tests.support.direct import Direct, chat, serving

SAUNA = "# House rules\n\n## Sauna\n\nThe sauna may be used until 22:30. Towels are at the reception.\n"
LIFT = (
    "<html><title>Lift</title><body><h1>Lift</h1><p>The cable car carries 48 skiers up to Black Peak.</p></body></html>"
)
BEES = "A hive of bees is wintered on sugar syrup. In February the keeper listens at the box."
PAGES = ["Contents of the annual report", "In 2019 the shipyard launched the ferry Aurora."]


def document(source: str, data: bytes | str, mime: str = "text/plain") -> Document:
    raw = data.encode() if isinstance(data, str) else data
    return Document(source, mime, Blob(hashlib.sha256(raw).hexdigest(), len(raw), raw))


def four() -> IngestRequest:
    return IngestRequest(
        (
            document("rules.md", SAUNA, "text/markdown"),
            document("lift.html", LIFT, "text/html"),
            document("bees.txt", BEES),
            document("report.pdf", pdf(PAGES), "application/pdf"),
        )
    )


@asynccontextmanager
async def library(bus: Bus, folder: Path, **spec: object) -> AsyncIterator[Direct]:
    section = Retrieval.model_validate({"kind": "retrieval", "path": "index", "replicas": Replicas(), **spec})
    service = build(section, Surroundings(bus, "docs", "docs-1", str(folder)))
    async with serving(bus, service, component="docs", slots=section.slots) as direct:
        yield direct


async def all_of(direct: Direct, request: Request) -> list[Event]:
    return [event async for event in direct.events(request, timeout_s=240)]


async def ingest(direct: Direct, request: IngestRequest) -> Ingested:
    return next(event for event in await all_of(direct, request) if isinstance(event, Ingested))


async def search(direct: Direct, query: str, k: int = 4) -> tuple[Passage, ...]:
    return next(event for event in await all_of(direct, SearchRequest(query, k)) if isinstance(event, Found)).passages


async def test_every_format_is_found_by_a_paraphrase_and_survives_a_restart(bus: Bus, tmp_path: Path) -> None:
    async with library(bus, tmp_path) as direct:
        assert direct.worker.beat().capabilities == ("search", "ingest", "embed", "answer")
        taken = await ingest(direct, four())
        assert taken.refused == ()
        assert dict(taken.documents) == {"rules.md": 1, "lift.html": 1, "bees.txt": 1, "report.pdf": 2}
        facts = direct.worker.beat().facts
        assert (facts["documents"], facts["passages"], facts["pending_passages"]) == (4, 5, 0)
        assert facts["index_bytes"] > 0
    async with library(bus, tmp_path) as direct:
        for query, source in (
            ("How late can guests sweat in the steam room?", "rules.md"),
            ("capacity of the gondola", "lift.html"),
            ("What do beekeepers feed in winter?", "bees.txt"),
            ("Which ship did the yard put to sea?", "report.pdf"),
        ):
            best = (await search(direct, query))[0]
            assert best.source == source, query
        assert best.page == 2
        assert best.similarity > 0.7
        assert 0 < best.score < 1
        on_topic = (await search(direct, "Until when is the sauna open?"))[0]
        assert on_topic.relevance > 0.7
        assert on_topic.title == "House rules › Sauna"  # noqa: RUF001
        for off in ("Who wrote Crime and Punishment?", "What is 17 times 23?"):
            assert max(passage.relevance for passage in await search(direct, off)) < 0.2


async def test_pinned_chat_quotes_and_cites_or_says_that_it_found_nothing(bus: Bus, tmp_path: Path) -> None:
    async with library(bus, tmp_path) as direct:
        text, _ = await direct.text(chat("Until when is the sauna open?"))
        assert "no documents" in text
        await ingest(direct, IngestRequest(four().documents[:2]))
        text, end = await direct.text(chat("Until when may the sauna be used?"))
        assert "until 22:30" in text
        assert "[1] rules.md" in text
        assert end.sources[0].source == "rules.md"
        assert end.usage.input_tokens > 0
        assert end.usage.output_tokens > 0
        short, end = await direct.text(chat("Until when may the sauna be used?", max_tokens=6))
        assert end.reason == "length"
        assert 0 < len(short) < len(text)
        text, end = await direct.text(chat("Who painted the Mona Lisa?"))
        assert "found nothing" in text
        assert end.sources == ()
        asked = (Message("user", "x"),)
        for wrong in (
            ChatRequest(asked, tools=(ToolSpec("f"),)),
            ChatRequest(asked, response_format=ResponseFormat("json_object")),
        ):
            with pytest.raises(Unsupported):
                await direct.text(wrong)
        with pytest.raises(InvalidRequest):
            await direct.text(ChatRequest((Message("system", "x"),), sampling=Sampling()))


async def test_document_ingested_again_is_replaced_or_skipped(bus: Bus, tmp_path: Path) -> None:
    async with library(bus, tmp_path) as direct:
        await ingest(direct, IngestRequest((document("a.txt", "The gate opens at dawn."),)))
        await ingest(direct, IngestRequest((document("a.txt", "The gate opens at noon."),)))
        found = await search(direct, "When does the gate open?")
        assert [passage.text for passage in found] == ["The gate opens at noon."]
        events = await all_of(direct, IngestRequest((document("a.txt", "The gate opens at noon."),)))
        assert isinstance(events[-1], Finished)
        assert events[-1].usage.input_tokens == 0  # nothing was embedded
        assert direct.worker.beat().facts["documents"] == 1


async def test_bad_documents_are_refused_one_by_one(bus: Bus, tmp_path: Path) -> None:
    good = document("good.txt", "A sound sentence.\0 With a NUL.")
    wrong_hash = Document("hash", "text/plain", Blob("0" * 64, 3, b"abc"))
    async with library(bus, tmp_path, max_document_bytes=2048) as direct:
        taken = await ingest(
            direct,
            IngestRequest(
                (
                    document("big", "x" * 3000),
                    document("binary", bytes(range(256)) * 4),
                    document("image", b"\x89PNG", "image/png"),
                    document("empty", ""),
                    document("", "text"),
                    Document("lost", "text/plain", Blob("0" * 64, 3, None, "no-such-object")),
                    Document("bare", "text/plain", Blob("0" * 64, 3)),
                    wrong_hash,
                    good,
                )
            ),
        )
        assert dict(taken.documents) == {"good.txt": 1}
        reasons = dict(taken.refused)
        assert set(reasons) == {"big", "binary", "image", "empty", "", "lost", "bare", "hash"}
        assert "2048" in reasons["big"]
        assert "sha256" in reasons["hash"]
        assert "\0" not in (await search(direct, "sound sentence"))[0].text


async def test_large_document_comes_by_reference(bus: Bus, tmp_path: Path) -> None:
    raw = ("The lighthouse keeper counts the ships. " * 3).encode()
    ref = await bus.blob_put(raw)
    blob = Blob(hashlib.sha256(raw).hexdigest(), len(raw), None, ref)
    async with library(bus, tmp_path) as direct:
        taken = await ingest(direct, IngestRequest((Document("light.txt", "text/plain", blob),)))
        assert taken.documents == (("light.txt", 1),)


async def test_query_is_words_and_never_syntax(bus: Bus, tmp_path: Path) -> None:
    async with library(bus, tmp_path) as direct:
        await ingest(direct, IngestRequest((document("a.txt", "Plain words about apples."),)))
        for query in (
            'text:* OR "',
            "-apples +(",
            "apples^1e99",
            "a" * 50_000,
            "\0 apples",
            "ﷺ" * 2000,
            "*:*",
            "?" * 900,
        ):
            assert len(await search(direct, query)) <= 4
        assert (await search(direct, "NOT apples AND passage:[0 TO *]"))[0].source == "a.txt"
        for k in (0, -1, 51, 10**9):
            with pytest.raises(InvalidRequest):
                await search(direct, "apples", k)
        with pytest.raises(InvalidRequest):
            await search(direct, "  \n ")


async def test_embeddings_have_length_one_and_bounds(bus: Bus, tmp_path: Path) -> None:
    async with library(bus, tmp_path) as direct:
        events = await all_of(direct, EmbedRequest(("how much protein", "ﷺ" * 50, "nul\0inside"), "query"))
        embedded, end = events[1], events[-1]
        assert isinstance(embedded, Embedded)
        assert isinstance(end, Finished)
        vectors = [np.frombuffer(vector, "<f4") for vector in embedded.vectors]
        assert [vector.shape for vector in vectors] == [(384,)] * 3
        assert all(abs(float(np.linalg.norm(vector)) - 1) < 1e-3 for vector in vectors)
        assert end.usage.input_tokens > 3
        for bad in ((), ("",), ("x" * 20_001,), ("x",) * 513):
            with pytest.raises(InvalidRequest):
                await all_of(direct, EmbedRequest(bad))


async def test_search_overtakes_a_long_ingest(bus: Bus, tmp_path: Path) -> None:
    async with library(bus, tmp_path, chunk_chars=200) as direct:
        await ingest(direct, IngestRequest((document("a.txt", "The gate opens at dawn."),)))
        long = "\n\n".join(f"Paragraph {number} tells of {word}." for number in range(30) for word in ("sand", "salt"))
        task, inbox = direct.task(IngestRequest((document("long.txt", long * 3),)), timeout_s=240)
        asked = asyncio.ensure_future(anext(direct.follow(task, inbox)))
        async with asyncio.timeout(60):
            while direct.worker.beat().in_use == 0:
                await asyncio.sleep(0)
        found = await search(direct, "When does the gate open?")
        assert found[0].source == "a.txt"
        assert not asked.done()
        asked.cancel()
        await bus.publish(f"turnout.v1.cancel.{task.root}", task.id.encode())


async def test_what_the_deadline_left_is_embedded_later_and_found_by_words_meanwhile(bus: Bus, tmp_path: Path) -> None:
    async with library(bus, tmp_path) as direct:
        request = IngestRequest((document("a.txt", "The password of the day is marzipan."),))
        async for event in direct.events(request, timeout_s=2.0):  # less than what is held back for the answer
            if isinstance(event, Finished):
                assert event.usage.input_tokens == 0
        assert (await search(direct, "marzipan"))[0].source == "a.txt"
        async with asyncio.timeout(60):
            while direct.worker.beat().facts["pending_passages"]:
                await asyncio.sleep(0.01)


async def test_two_instances_share_one_library(bus: Bus, tmp_path: Path) -> None:
    async with library(bus, tmp_path) as old, library(bus, tmp_path) as new:
        await ingest(old, IngestRequest((document("a.txt", "The heron nests by the weir."),)))
        assert (await search(new, "Where does the heron nest?"))[0].relevance > 0.5
        await ingest(new, IngestRequest((document("a.txt", "The heron nests in the poplar."),)))
        assert "poplar" in (await search(old, "Where does the heron nest?"))[0].text


async def test_damaged_indexes_are_built_anew_from_the_store(bus: Bus, tmp_path: Path) -> None:
    async with library(bus, tmp_path) as direct:
        await ingest(direct, IngestRequest(four().documents[2:3]))
    index = tmp_path / "index"
    (index / "vectors.usearch").write_bytes(b"rubbish")
    for file in index.glob("words-*/meta.json"):
        file.write_bytes(b"{")
    async with library(bus, tmp_path) as direct:
        assert (await search(direct, "bees in winter"))[0].source == "bees.txt"


async def test_start_is_quick(bus: Bus, tmp_path: Path) -> None:
    begun = time.monotonic()
    async with library(bus, tmp_path) as direct:
        assert isinstance(direct.worker._service, RetrievalService)
        assert time.monotonic() - begun < 10
        assert [e async for e in direct.events(chat("anything?")) if isinstance(e, Delta)]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="tells by /proc which libraries are loaded")
def test_openmp_is_not_loaded_before_it_is_configured() -> None:
    """Loaded too early it does not hear that its threads shall not spin, and a query takes seconds on busy cores."""
    code = "import services.retrieval.service, pathlib; print('libgomp' in pathlib.Path('/proc/self/maps').read_text())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
