from __future__ import annotations

import hashlib
import io
import struct
import zlib

import pytest
from PIL import Image as Pillow

from services.bus.memory import MemoryBus
from services.contracts.errors import InvalidRequest, PayloadTooLarge
from services.contracts.messages import Blob
from services.vision.picture import MAX_BYTES, decode, fetch
from tests.support import screens

PLENTY = 16_000_000


def encoded(image: Pillow.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be huge."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_pixels_are_blue_green_red() -> None:
    picture = decode(encoded(Pillow.new("RGB", (40, 30), (250, 10, 20))), PLENTY)
    assert picture.pixels.shape == (30, 40, 3)
    assert picture.pixels[0, 0].tolist() == [20, 10, 250]


def test_transparent_is_white() -> None:
    picture = decode(encoded(Pillow.new("RGBA", (10, 10), (0, 0, 0, 0))), PLENTY)
    assert picture.pixels.min() == 255


def test_palette_with_a_transparent_colour_is_white_there() -> None:
    image = Pillow.new("P", (10, 10), 0)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert decode(encoded(image, transparency=0), PLENTY).pixels.min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_png_can_be_read(mode: str) -> None:
    assert decode(encoded(Pillow.new(mode, (12, 9))), PLENTY).pixels.shape == (9, 12, 3)


def test_sixteen_bit_grey_keeps_its_contrast() -> None:
    image = Pillow.new("I;16", (2, 1))
    image.putpixel((0, 0), 1000)
    image.putpixel((1, 0), 60000)
    pixels = decode(encoded(image), PLENTY).pixels
    assert pixels[0, 0, 0] < 10
    assert pixels[0, 1, 0] > 245


def test_cmyk_jpeg_can_be_read() -> None:
    assert decode(encoded(Pillow.new("CMYK", (32, 16)), "JPEG"), PLENTY).pixels.shape == (16, 32, 3)


def test_first_frame_of_an_animation() -> None:
    red, blue = Pillow.new("RGB", (20, 20), (255, 0, 0)), Pillow.new("RGB", (20, 20), (0, 0, 255))
    data = encoded(red, "GIF", save_all=True, append_images=[blue])
    assert decode(data, PLENTY).pixels[5, 5].tolist() == [0, 0, 255]


def test_turned_upright_as_exif_says() -> None:
    image = Pillow.new("RGB", (60, 20))
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turn a quarter
    picture = decode(encoded(image, "JPEG", exif=exif), PLENTY)
    assert (picture.width_px, picture.height_px) == (20, 60)
    assert picture.pixels.shape == (60, 20, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_large_image_is_scaled_down_and_remembers_its_size(kind: str) -> None:
    picture = decode(encoded(Pillow.new("RGB", (800, 400)), kind), 20_000)
    assert (picture.width_px, picture.height_px) == (800, 400)
    height, width, _ = picture.pixels.shape
    assert height * width <= 20_000
    assert abs(width / height - 2) < 0.05


def test_turned_and_scaled_at_once() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 8
    picture = decode(encoded(Pillow.new("RGB", (800, 400)), "JPEG", exif=exif), 20_000)
    assert (picture.width_px, picture.height_px) == (400, 800)
    assert picture.pixels.shape[0] > picture.pixels.shape[1]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_cut_off_image_is_refused(kind: str, share: float) -> None:
    data = screens.error_dialog().encoded(kind)
    with pytest.raises(InvalidRequest):
        decode(data[: int(len(data) * share)], PLENTY)


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7", b"\x89PNG\r\n\x1a\n", b"<svg xmlns='x'/>"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(data, PLENTY)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (9_000, 9_000), (2**31 - 1, 2**31 - 1), (60_000, 10)])
def test_bomb_is_refused_before_it_unpacks(width: int, height: int) -> None:
    with pytest.raises((PayloadTooLarge, InvalidRequest)):
        decode(bomb(width, height), PLENTY)


async def test_inline_and_stored_bytes_arrive_alike() -> None:
    bus, data = MemoryBus(), b"some bytes"
    digest = hashlib.sha256(data).hexdigest()
    assert await fetch(bus, Blob(digest, len(data), data=data)) == data
    assert await fetch(bus, Blob(digest, len(data), ref=await bus.blob_put(data))) == data


async def test_bytes_that_differ_from_what_was_announced_are_refused() -> None:
    bus, data = MemoryBus(), b"some bytes"
    digest = hashlib.sha256(data).hexdigest()
    for blob in (
        Blob("0" * 64, len(data), data=data),
        Blob(digest, len(data) + 1, data=data),
        Blob(digest, len(data)),
        Blob(digest, len(data), ref="blob-gone"),
    ):
        with pytest.raises(InvalidRequest):
            await fetch(bus, blob)
    with pytest.raises(PayloadTooLarge):
        await fetch(bus, Blob(digest, MAX_BYTES + 1, ref="any"))
