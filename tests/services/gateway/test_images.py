from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from PIL import Image as Pillow

from services.bus.memory import MemoryBus
from services.contracts.events import Event, Finished, Usage
from services.contracts.messages import ChatRequest, Image, Task
from services.gateway.images import INLINE_BYTES
from tests.services.gateway.support import Front, Scripted, catalog, front
from tests.services.gateway.test_fetch import web


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30), noise: bool = False) -> bytes:
    image = Pillow.effect_noise(size, 90).convert("RGB") if noise else Pillow.new("RGB", size, (200, 30, 30))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def data_url(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def parts(*urls: str) -> list[dict[str, Any]]:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, *images]}]


async def _ask(gate: Front, *urls: str) -> httpx.Response:
    return await gate.ask(messages=parts(*urls))


def _images(gate: Front) -> tuple[Image, ...]:
    request = gate.router.tasks[-1].request
    assert isinstance(request, ChatRequest)
    return request.images


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
async def test_an_image_arrives_as_what_it_is_whatever_it_claims(kind: str) -> None:
    async with front() as gate:
        await gate.openai().chat.completions.create(
            model="auto", messages=parts(data_url(picture(kind), "image/whatever"))
        )
        (image,) = _images(gate)
    assert (image.mime, image.width_px, image.height_px) == (f"image/{kind.lower()}", 40, 30)
    assert image.blob.data == picture(kind)


async def test_text_and_images_keep_their_order() -> None:
    async with front() as gate:
        await _ask(gate, data_url(picture()), data_url(picture("JPEG")))
        assert [image.mime for image in _images(gate)] == ["image/png", "image/jpeg"]
        assert "what is this?" in gate.router.tasks[-1].request.question  # type: ignore[union-attr]


async def test_a_large_image_travels_by_reference_and_is_gone_afterwards() -> None:
    large = picture(size=(400, 400), noise=True)
    assert len(large) > INLINE_BYTES
    bus = MemoryBus()
    seen: list[bytes] = []

    async def play(task: Task) -> AsyncIterator[Event]:
        assert isinstance(task.request, ChatRequest)
        ref = task.request.images[0].blob.ref
        assert ref is not None
        seen.append(await bus.blob_get(ref))
        yield Finished(Usage(1, 1))

    async with front({"small": Scripted(play)}, bus=bus) as gate:
        assert (await _ask(gate, data_url(large))).status_code == 200
        assert seen == [large]
        assert (await _ask(gate, data_url(large), data_url(b"not an image"))).status_code == 400
        for task in tuple(gate.edge.images._cleaning):
            await task
    assert bus._blobs == {}


async def test_many_small_images_do_not_outgrow_the_bus() -> None:
    medium = picture(size=(250, 250), noise=True)
    assert len(medium) < INLINE_BYTES < len(medium) * 3
    async with front() as gate:
        assert (await _ask(gate, *[data_url(medium)] * 8)).status_code == 200
        assert sum(len(image.blob.data or b"") for image in _images(gate)) <= INLINE_BYTES


async def test_an_image_is_fetched_from_an_allowed_host() -> None:
    png = picture()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(png)
    async with web(head + png) as (port, _), front(snapshot=catalog(fetch_private_hosts=["localhost"])) as gate:
        assert (await _ask(gate, f"http://localhost:{port}/a.png")).status_code == 200
        assert _images(gate)[0].blob.data == png


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Front]:
    async with front(snapshot=catalog(max_image_bytes=250_000)) as running:
        yield running


def _bomb() -> bytes:
    """A small PNG of 30000 x 30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


_PICTURE = picture(size=(200, 200), noise=True)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (data_url(_bomb()), 413),
        (data_url(_PICTURE[: len(_PICTURE) // 2]), 400),
        (data_url(_PICTURE[:-5]), 400),
        (data_url(picture("JPEG", (200, 200), True)[:-300]), 400),
        (data_url(_PICTURE[:2000] + b"\0" * 50 + _PICTURE[2050:]), 400),
        (data_url(b"GIF89a"), 400),
        (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), 400),
        (data_url(b"%PDF-1.4"), 400),
        (data_url(b""), 400),
        (data_url(picture("TIFF"), "image/tiff"), 400),
        ("data:image/png;base64,!!!!", 400),
        ("data:image/png;base64,iVBO\nRw0K", 400),
        ("data:image/png;base64,iVB", 400),
        ("data:image/png,rawbytes", 400),
        ("data:", 400),
        ("data:image/png;base64,é", 400),
        (data_url(b"x" * 300_000), 413),
        ("file:///etc/passwd", 400),
        ("http://169.254.169.254/latest/meta-data/", 400),
        ("http://[::ffff:169.254.169.254]/", 400),
        ("http://127.0.0.1:8080/health/live", 400),
        ("http://localhost/", 400),
        ("", 400),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_not_an_image_is_refused_and_named(shared: Front, url: str, status: int) -> None:
    gate = shared
    gate.router.tasks.clear()
    answer = await _ask(gate, data_url(picture()), url)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == "messages[0].content[2].image_url.url"
    assert gate.router.tasks == []
    assert (await _ask(gate, data_url(picture()))).status_code == 200


async def test_the_official_client_sees_a_bad_request() -> None:
    async with front() as gate:
        with pytest.raises(openai.BadRequestError):
            await gate.openai().chat.completions.create(model="auto", messages=parts("file:///etc/passwd"))


async def test_more_images_than_allowed_are_refused() -> None:
    async with front(snapshot=catalog(max_images=2)) as gate:
        assert (await _ask(gate, *[data_url(picture())] * 2)).status_code == 200
        assert (await _ask(gate, *[data_url(picture())] * 3)).status_code == 400


async def test_images_belong_to_the_user() -> None:
    async with front() as gate:
        turn = {**parts(data_url(picture()))[0], "role": "system"}
        assert (await gate.ask(messages=[turn])).status_code == 400
