"""Images of a request: fetched or decoded, checked to be what they say, and put where a worker finds them.

The pixel limit is checked on the header, before a single pixel is unpacked. Then the image is decoded once, in a
thread: only that finds a truncated file before a model does.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from services.bus.port import Bus
from services.contracts.catalog import Gateway
from services.contracts.errors import InvalidRequest, PayloadTooLarge, TurnoutError
from services.contracts.messages import Blob, Image
from services.gateway.fetch import Fetcher
from services.gateway.translate import ImageAt

log = structlog.get_logger()

INLINE_BYTES = 256 * 1024
"""What all images of one request may take inside its message; the rest travels by reference."""
_FORMATS = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
}
_OPENABLE = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_AT_ONCE = 2  # an image at the pixel limit takes 160 MB while it is decoded


@dataclass(frozen=True, slots=True)
class Checked:
    """What an image turned out to be."""

    data: bytes
    sha256: str
    mime: str
    width_px: int
    height_px: int


class Images:
    """Takes in the images of requests. One for the process."""

    def __init__(self, bus: Bus, fetcher: Fetcher) -> None:
        self._bus = bus
        self._fetcher = fetcher
        self._decoding = asyncio.Semaphore(_AT_ONCE)
        self._cleaning: set[asyncio.Task[None]] = set()

    async def take(self, wanted: Sequence[ImageAt], gateway: Gateway, stored: list[str]) -> dict[str, Image]:
        """The images by the parameter they stood in. Names put into the Object Store are added to `stored`.

        Raises:
            InvalidRequest: one is not an image, too many, or cannot be fetched; `param` names it.
            PayloadTooLarge: one has too many bytes or pixels.
        """
        if len(wanted) > gateway.max_images:
            raise InvalidRequest(f"more than {gateway.max_images} images", param=wanted[gateway.max_images].param)
        checked = await asyncio.gather(*(self._checked(one, gateway) for one in wanted))
        images: dict[str, Image] = {}
        room_bytes = INLINE_BYTES
        for one, found in zip(wanted, checked, strict=True):
            if len(found.data) <= room_bytes:
                room_bytes -= len(found.data)
                blob = Blob(found.sha256, len(found.data), data=found.data)
            else:
                ref = await self._bus.blob_put(found.data)
                stored.append(ref)
                blob = Blob(found.sha256, len(found.data), ref=ref)
            images[one.param] = Image(blob, found.mime, found.width_px, found.height_px)
        return images

    def forget(self, stored: Sequence[str]) -> None:
        """Delete blobs of a request that has ended, without making anyone wait."""
        for name in stored:
            task = asyncio.create_task(self._delete(name))
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)

    async def _delete(self, name: str) -> None:
        try:
            await self._bus.blob_delete(name)
        except TurnoutError as error:
            log.info("blob_left_to_expire", name=name, reason=error.message)

    async def _checked(self, one: ImageAt, gateway: Gateway) -> Checked:
        url = one.where.url
        if url[:5].lower() == "data:":
            async with self._decoding:
                return await asyncio.to_thread(_from_data_url, url, gateway, one.param)
        data = await self._fetcher.fetch(url, gateway, one.param)
        async with self._decoding:
            return await asyncio.to_thread(check_image, data, gateway.max_image_pixels, one.param)


def _from_data_url(url: str, gateway: Gateway, param: str) -> Checked:
    return check_image(decode_data_url(url, gateway.max_image_bytes, param), gateway.max_image_pixels, param)


def decode_data_url(url: str, max_bytes: int, param: str) -> bytes:
    """The bytes of a base64 data URL.

    Raises:
        InvalidRequest: it is not one. PayloadTooLarge: over `max_bytes`.
    """
    head, comma, encoded = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InvalidRequest("a data URL must be of the form data:image/...;base64,...", param=param)
    if len(encoded) // 4 * 3 > max_bytes + 2:
        raise _too_many_bytes(max_bytes, param)
    try:
        data = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidRequest("the data URL is not valid base64", param=param) from error
    if len(data) > max_bytes:
        raise _too_many_bytes(max_bytes, param)
    return data


def check_image(data: bytes, max_pixels: int, param: str) -> Checked:
    """What `data` is, after decoding it once.

    Raises:
        InvalidRequest: not an image of a known format, damaged or truncated.
        PayloadTooLarge: more than `max_pixels`.
    """
    try:
        with Pillow.open(io.BytesIO(data), formats=_OPENABLE) as image:
            kind, (width, height) = image.format, image.size
            if width * height > max_pixels:
                raise PayloadTooLarge(f"the image has more than {max_pixels} pixels", param=param)
            image.draft(image.mode, (max(1, width // 8), max(1, height // 8)))  # JPEG: all bytes, few pixels
            image.load()
        if kind == "PNG":
            with Pillow.open(io.BytesIO(data), formats=_OPENABLE) as image:
                image.verify()  # the checksums, down to the last chunk
    except Pillow.DecompressionBombError as error:
        raise PayloadTooLarge(f"the image has more than {max_pixels} pixels", param=param) from error
    except UnidentifiedImageError as error:
        raise InvalidRequest("not an image; send PNG, JPEG, WebP, GIF or BMP", param=param) from error
    except TurnoutError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise InvalidRequest("the image is damaged or truncated", param=param) from error
    if kind not in _FORMATS or width < 1 or height < 1:
        raise InvalidRequest("not an image; send PNG, JPEG, WebP, GIF or BMP", param=param)
    return Checked(data, hashlib.sha256(data).hexdigest(), _FORMATS[kind], width, height)


def _too_many_bytes(max_bytes: int, param: str) -> PayloadTooLarge:
    return PayloadTooLarge(f"the image is larger than {max_bytes} bytes (gateway.max_image_bytes)", param=param)
