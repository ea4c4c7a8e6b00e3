"""A real nats-server with our configuration lets everyone do their work, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.bus.nats_bus import Login, NatsBus, connect
from services.bus.port import Incoming
from services.contracts import subjects
from services.contracts.catalog_file import load, parse
from services.contracts.errors import ConfigError, NotAuthorized
from services.controller.bus_rights import Place, rights, server_configuration
from tests.support.nats import configured

COMPOSE = Path(__file__).parents[3] / "compose"
CATALOG = load(COMPOSE / "turnout.yaml")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("nats")
    (folder / "passwords").write_text("".join(f'pw_{user}: "of {user}"\n' for user in rights(CATALOG)))
    place = Place("passwords", str(folder / "store"), port=-1, health_port=-1)
    (folder / "nats.conf").write_text(server_configuration(CATALOG, place))
    with configured(folder / "nats.conf") as url:
        yield url


@asynccontextmanager
async def user(url: str, name: str, password: str = "") -> AsyncIterator[NatsBus]:
    bus = await connect(url, name=name, login=Login(name, password or f"of {name}"), timeout_s=10)
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def stored(url: str) -> int:
    """The revision of a catalog that is in force."""
    async with user(url, "controller") as controller:
        await controller.ensure_storage()
        return await controller.kv_put(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY, b"the catalog")


async def heard(bus: NatsBus, subject: str) -> list[bytes]:
    """What a subscription hears; the list grows."""
    found: list[bytes] = []

    async def note(message: Incoming) -> None:
        found.append(message.data)

    await bus.subscribe(subject, note)
    await bus.flush()
    return found


async def test_a_wrong_password_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(NotAuthorized) as refusal:
        async with user(url, "eyes", "of small"):
            pass
    assert "of small" not in refusal.value.message


@pytest.mark.parametrize("name", ["gateway", "router", "small", "eyes", "docs", "cloud", "tools", "screen"])
async def test_everyone_reads_the_catalog_and_nobody_writes_it(url: str, stored: int, name: str) -> None:
    async with user(url, name) as bus:
        assert await bus.kv_get(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY) == (b"the catalog", stored)
        await bus.publish(f"$KV.{subjects.CATALOG_BUCKET}.{subjects.CATALOG_KEY}", b"mine")
        await bus.publish(f"$JS.API.STREAM.PURGE.KV_{subjects.CATALOG_BUCKET}", b"")
        await bus.flush()
        assert await bus.kv_get(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY) == (b"the catalog", stored)


@pytest.mark.parametrize("subject", [subjects.ROUTE, "turnout.v1.do.small.*", "turnout.v1.>", ">", "_INBOX.>"])
async def test_a_vision_worker_does_not_hear_what_others_are_asked(url: str, stored: int, subject: str) -> None:
    async with user(url, "gateway") as gateway, user(url, "router") as router, user(url, "eyes") as eyes:
        routed, spied = await heard(router, subjects.ROUTE), await heard(eyes, subject)
        await gateway.publish(subjects.ROUTE, b"a prompt")
        await gateway.flush()
        await router.publish(subjects.do("small", "small-1"), b"a prompt")
        await router.publish(gateway.inbox().subject, b"an answer")
        await router.flush()
        await eyes.flush()
        async with asyncio.timeout(5):
            while not routed:
                await asyncio.sleep(0.01)
        assert routed == [b"a prompt"]
        assert spied == []


async def test_a_worker_hears_its_own_work_and_answers_who_asked(url: str, stored: int) -> None:
    async with user(url, "router") as router, user(url, "gateway") as gateway, user(url, "eyes") as eyes:
        inbox = gateway.inbox()

        async def work(message: Incoming) -> None:
            await eyes.publish(inbox.subject, b"a token")
            await eyes.publish(message.reply, b"begun")

        await eyes.subscribe(subjects.do("eyes", "eyes-1"), work)
        await eyes.flush()
        assert await router.ask(subjects.do("eyes", "eyes-1"), b"a task", 5) == b"begun"
        async with asyncio.timeout(5):
            assert await inbox.next() == b"a token"


async def test_nobody_speaks_for_another_component(url: str, stored: int) -> None:
    async with user(url, "router") as router, user(url, "eyes") as eyes:
        beats, tasks = await heard(router, subjects.BEATS), await heard(router, subjects.ROUTE)
        await eyes.publish(subjects.beat("small", "small-1"), b"forged")
        await eyes.publish(subjects.ROUTE, b"forged")
        await eyes.publish(subjects.beat("eyes", "eyes-1"), b"own")
        await eyes.flush()
        async with asyncio.timeout(5):
            while not beats:
                await asyncio.sleep(0.01)
        assert (beats, tasks) == ([b"own"], [])


@pytest.mark.parametrize("reader", ["eyes", "docs", "cloud"])
async def test_large_payloads_go_from_the_gateway_to_those_who_read_them(url: str, stored: int, reader: str) -> None:
    data = bytes(300_000)
    async with user(url, "gateway") as gateway, user(url, reader) as bus:
        name = await gateway.blob_put(data)
        assert await bus.blob_get(name) == data
        await gateway.blob_delete(name)


async def test_the_gateway_keeps_decisions_and_shows_the_history(url: str, stored: int) -> None:
    async with user(url, "gateway") as gateway:
        await gateway.record(subjects.decision("one"), b"a decision")
        assert await gateway.recall(subjects.decision("one")) == b"a decision"
        history = await gateway.kv_history(subjects.CATALOG_BUCKET, subjects.CATALOG_KEY)
        assert history[-1].value == b"the catalog"


async def test_routers_hear_and_remember_feedback_and_the_gateway_shows_what_is_kept(url: str, stored: int) -> None:
    async with user(url, "gateway") as gateway, user(url, "router") as router, user(url, "eyes") as eyes:
        told, spied = await heard(router, subjects.FEEDBACK), await heard(eyes, subjects.FEEDBACK)
        await eyes.publish(subjects.feedback("forged", "client"), b"forged")
        await eyes.flush()
        await gateway.record(subjects.feedback("one", "client"), b"a verdict")
        await gateway.record(subjects.shadow("one"), b"two answers")
        await gateway.record(subjects.decision("two"), b"another decision")
        await router.publish(subjects.feedback("one", "verified"), b"an estimate")
        await router.flush()
        async with asyncio.timeout(5):
            while len(told) < 2:
                await asyncio.sleep(0.01)
        assert told == [b"a verdict", b"an estimate"]
        assert spied == []
        assert [data async for data in router.replay(subjects.FEEDBACK)] == told
        assert [data async for data in gateway.replay(subjects.FEEDBACK)] == told
        assert [data async for data in gateway.replay(subjects.SHADOWS)] == [b"two answers"]
        assert b"another decision" in [data async for data in gateway.replay(subjects.DECISIONS)]


async def test_the_controller_alone_writes_events_and_numbers_and_the_gateway_reads_events(
    url: str, stored: int
) -> None:
    async with user(url, "controller") as controller, user(url, "gateway") as gateway, user(url, "eyes") as eyes:
        heard_live = await heard(gateway, subjects.EVENTS)
        revision = await controller.kv_put(subjects.SCALE_BUCKET, subjects.SCALE_KEY, b"chosen", after=0)
        for forger in (gateway, eyes):
            await forger.publish(subjects.event("forged"), b"forged")
            await forger.publish(f"$KV.{subjects.SCALE_BUCKET}.{subjects.SCALE_KEY}", b"forged")
            await forger.publish(f"$JS.API.STREAM.PURGE.{subjects.EVENT_STREAM}", b"")
            await forger.flush()
        await controller.record(subjects.event("one"), b"an event")
        assert [data async for data in gateway.replay(subjects.EVENTS)] == [b"an event"]
        assert [data async for data in controller.replay(subjects.EVENTS)] == [b"an event"]
        assert await controller.kv_get(subjects.SCALE_BUCKET, subjects.SCALE_KEY) == (b"chosen", revision)
        assert heard_live == [b"an event"]


def test_the_configuration_of_the_containers_is_the_one_made_from_their_catalog() -> None:
    assert (COMPOSE / "nats" / "nats.conf").read_text() == server_configuration(CATALOG)


def test_a_component_cannot_take_the_name_of_the_controller() -> None:
    with pytest.raises(ConfigError, match="'controller'"):
        rights(parse("components: {controller: {kind: vision}}"))
