"""The real models on drawn screens, behind the real worker runtime."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from services.bus.memory import MemoryBus
from services.bus.nats_bus import NatsBus
from services.bus.port import Bus
from services.contracts import subjects
from services.contracts.catalog import Vision
from services.contracts.errors import ConfigError, TurnoutError, Unsupported
from services.contracts.events import Finished, ScreenLine, ScreenRead
from services.contracts.messages import (
    Blob,
    ChatRequest,
    EmbedRequest,
    Image,
    ImagePart,
    Message,
    ReadRequest,
    ResponseFormat,
    TextPart,
)
from services.vision.engine import Engine
from services.vision.service import VisionService
from services.worker.service import Surroundings
from tests.services.vision.test_picture import bomb
from tests.support import screens
from tests.support.direct import Direct, chat, serving


@asynccontextmanager
async def eyes(bus: Bus, engine: Engine, spec: Vision | None = None) -> AsyncIterator[Direct]:
    service = VisionService(spec or Vision(kind="vision"), Surroundings(bus, "eyes", "eyes-1"), engine=engine)
    async with serving(bus, service, component="eyes", slots=2) as direct:
        yield direct


async def read(direct: Direct, image: Image) -> ScreenRead:
    events = [event async for event in direct.events(ReadRequest(image))]
    assert isinstance(events[-1], Finished)
    (screen,) = [event for event in events if isinstance(event, ScreenRead)]
    return screen


def solid(text: str) -> str:
    """Without its spaces: the recognizer now and then drops a narrow one."""
    return text.replace(" ", "")


def assert_reads(screen: ScreenRead, drawn: screens.Screen) -> None:
    """Every line, in order, where it was drawn: a box stands off the ink by less than the height of a capital."""
    assert [solid(line.text) for line in screen.lines] == [solid(line.text) for line in drawn.lines]
    for found, line in zip(screen.lines, drawn.lines, strict=True):
        for mine, theirs in (
            (found.x, line.x),
            (found.y, line.y),
            (found.x + found.w, line.x + line.w),
            (found.y + found.h, line.y + line.h),
        ):
            assert abs(mine - theirs) <= max(8, 0.7 * line.h), (found, line)
        assert found.confidence >= 0.5


@pytest.mark.parametrize(
    "draw",
    [screens.invoice, screens.error_dialog, screens.settings_window, screens.two_columns, screens.small_text],
    ids=["invoice", "error dialog", "dark window", "two columns", "10 px letters"],
)
async def test_every_line_is_read_in_order_and_in_place(engine: Engine, draw: object) -> None:
    drawn: screens.Screen = draw()  # type: ignore[operator]  # one of the functions above
    async with eyes(MemoryBus(), engine) as direct:
        screen = await read(direct, drawn.image())
    assert (screen.width_px, screen.height_px) == drawn.picture.size
    assert_reads(screen, drawn)


async def test_large_image_by_reference_has_boxes_in_its_own_pixels(engine: Engine, bus: NatsBus) -> None:
    drawn = screens.invoice(scale=3)
    data = drawn.encoded("BMP")
    assert len(data) > bus.max_payload_bytes
    blob = Blob(hashlib.sha256(data).hexdigest(), len(data), ref=await bus.blob_put(data))
    async with eyes(bus, engine, Vision(kind="vision", max_pixels=1_500_000)) as direct:
        screen = await read(direct, Image(blob, "image/bmp", *drawn.picture.size))
    assert (screen.width_px, screen.height_px) == (3000, 2100)
    assert_reads(screen, drawn)


async def test_bad_images_are_refused_and_the_service_goes_on(engine: Engine) -> None:
    drawn = screens.error_dialog()
    good = drawn.image()
    data = drawn.encoded()
    bad = (
        screens.inline(data[: len(data) // 2], 800, 450),
        screens.inline(bomb(50_000, 50_000), 50_000, 50_000),
        msgspec.structs.replace(good, blob=msgspec.structs.replace(good.blob, sha256="0" * 64)),
        msgspec.structs.replace(good, blob=msgspec.structs.replace(good.blob, size_bytes=7)),
        screens.inline(b"not an image", 1, 1),
    )
    async with eyes(MemoryBus(), engine) as direct:
        for image in bad:
            with pytest.raises(TurnoutError, match="image") as caught:
                await read(direct, image)
            assert caught.value.status in (400, 413)
        assert_reads(await read(direct, good), drawn)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (64, 14)])
async def test_empty_and_tiny_images_have_no_lines(engine: Engine, size: tuple[int, int]) -> None:
    async with eyes(MemoryBus(), engine) as direct:
        screen = await read(direct, screens.Drawing(*size).screen().image())
    assert screen == ScreenRead((), *size)


async def test_strip_of_one_low_line_is_read(engine: Engine) -> None:
    strip = screens.Drawing(220, 20)
    strip.write(4, 2, "Saved 3 minutes ago", 13)
    async with eyes(MemoryBus(), engine) as direct:
        screen = await read(direct, strip.screen().image())
    assert [solid(line.text) for line in screen.lines] == ["Saved3minutesago"]


async def test_lines_that_a_tile_border_cuts_are_read_whole(engine: Engine) -> None:
    page = screens.Drawing(1920, 1080)
    page.write(60, 40, "Two lone lines of small letters are found on a large screen", 12)
    # Without one empty row in the middle, the horizontal cut has to go through letters.
    for row in range(12):
        page.write(1000 if row % 2 else 1450, 470 + 13 * row, f"Row {row} of a block that leaves no gap", 18)
    for row in range(4):
        page.write(640, 800 + 40 * row, f"Sentence {row} runs from the left half of the screen into its right half", 20)
    async with eyes(MemoryBus(), engine) as direct:
        screen = await read(direct, page.screen().image())
    assert {solid(line.text) for line in screen.lines} == {solid(text) for text in page.screen().texts}


async def test_small_letters_on_a_very_large_screen_are_read(engine: Engine) -> None:
    wide = screens.Drawing(3840, 2160)
    wide.write(1700, 1000, "Battery at 41 percent", 14)
    wide.write(3300, 2100, "Build 20348 finished", 14)
    async with eyes(MemoryBus(), engine) as direct:
        assert_reads(await read(direct, wide.screen().image()), wide.screen())


async def test_lines_below_the_least_confidence_are_left_out(engine: Engine) -> None:
    async with eyes(MemoryBus(), engine, Vision(kind="vision", min_confidence=1.0)) as direct:
        screen = await read(direct, screens.error_dialog().image())
    assert all(line.confidence == 1.0 for line in screen.lines)
    assert len(screen.lines) < len(screens.error_dialog().lines)


async def test_asked_in_a_chat_it_answers_with_the_text(engine: Engine) -> None:
    drawn = screens.error_dialog()
    request = ChatRequest((Message("user", (TextPart("What is this?"), ImagePart(drawn.image()))),))
    async with eyes(MemoryBus(), engine) as direct:
        text, finished = await direct.text(request)
    assert [solid(line) for line in text.splitlines()] == [solid(line) for line in drawn.texts]
    lines = msgspec.convert(finished.detail["lines"], tuple[ScreenLine, ...])
    assert [line.text for line in lines] == text.splitlines()


async def test_what_it_cannot_do_is_refused(engine: Engine) -> None:
    image = ChatRequest((Message("user", (ImagePart(screens.small_text().image()),)),))
    async with eyes(MemoryBus(), engine) as direct:
        for request in (
            chat("no image here"),
            EmbedRequest(("text",)),
            msgspec.structs.replace(image, response_format=ResponseFormat("json_object")),
        ):
            with pytest.raises(Unsupported):
                _ = [event async for event in direct.events(request)]


async def test_it_declares_to_read_and_not_to_chat(engine: Engine) -> None:
    async with eyes(MemoryBus(), engine) as direct:
        assert direct.worker.beat().capabilities == ("read", "answer")


async def test_abandoned_image_frees_the_slot_and_the_thread(engine: Engine) -> None:
    bus = MemoryBus()
    page = screens.Drawing(1280, 720)
    for row in range(34):
        page.write(20, 10 + 20 * row, f"line {row} of a page with very many lines of text on it", 12)
    async with eyes(bus, engine) as direct:
        task, inbox = direct.task(ReadRequest(page.screen().image()))
        following = asyncio.ensure_future(anext(direct.follow(task, inbox)))
        async with asyncio.timeout(5):
            while not direct.worker.beat().in_use:
                await asyncio.sleep(0)
        await bus.publish(subjects.cancel(task.root), task.id.encode())
        async with asyncio.timeout(0.5):
            while direct.worker.beat().in_use:
                await asyncio.sleep(0)
        assert_reads(await read(direct, screens.error_dialog().image()), screens.error_dialog())
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_missing_weights_are_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.vision.engine.DETECTOR_WEIGHTS", "gone.onnx")
    with pytest.raises(ConfigError, match="reinstall"):
        await asyncio.to_thread(Engine().load)
