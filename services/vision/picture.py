"""From the bytes of an image to pixels that can be read. Everything here is told by a stranger and may be hostile."""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from services.bus.port import Bus
from services.contracts.errors import InvalidRequest, NotFound, PayloadTooLarge
from services.contracts.messages import Blob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_BYTES = 64 * 1024 * 1024
MAX_DECODED_PIXELS = 64_000_000  # 256 MB while it is being decoded; Pillow's own guard lets 179 million through
MAX_SIDE_PX = 32_000


@dataclass(frozen=True)
class Picture:
    """An upright image on white.

    Attributes:
        pixels: (height, width, 3) uint8, blue-green-red as OpenCV wants it.
        width_px, height_px: of the original after its EXIF orientation, which may be larger than `pixels`.
    """

    pixels: NDArray[np.uint8]
    width_px: int
    height_px: int


async def fetch(bus: Bus, blob: Blob) -> bytes:
    """The bytes of a blob, wherever they are, checked against its size and digest.

    Raises:
        InvalidRequest: they are gone, or not what was announced.
        PayloadTooLarge: over `MAX_BYTES`.
    """
    if blob.size_bytes > MAX_BYTES:
        raise PayloadTooLarge(f"the image has {blob.size_bytes} bytes; the limit is {MAX_BYTES}")
    if (blob.data is None) == (blob.ref is None):
        raise InvalidRequest("an image needs either its bytes or a reference to them")
    data = blob.data
    if data is None:
        try:
            data = await bus.blob_get(blob.ref or "")
        except NotFound as error:
            raise InvalidRequest("the image has expired; send it again") from error
    if len(data) != blob.size_bytes:
        raise InvalidRequest(f"the image has {len(data)} bytes where {blob.size_bytes} were announced")
    if hashlib.sha256(data).hexdigest() != blob.sha256:
        raise InvalidRequest("the image's SHA-256 digest is not the one announced")
    return data


def decode(data: bytes, max_pixels: int) -> Picture:
    """The first frame, upright, on white, scaled down to `max_pixels` if it has more. Blocks: call it in a thread.

    Raises:
        InvalidRequest: not an image, of a kind that is not read, or broken.
        PayloadTooLarge: it would unpack to more than `MAX_DECODED_PIXELS`.
    """
    import numpy as np  # noqa: PLC0415 - heavy: it is loaded when the service starts, not with this module

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # our own limit is lower
            image = Pillow.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_DECODED_PIXELS or max(width, height) > MAX_SIDE_PX:
            raise PayloadTooLarge(
                f"the image is {width}x{height} px; the limits are {MAX_DECODED_PIXELS} pixels and {MAX_SIDE_PX} a side"
            )
        shrink = min(1.0, math.sqrt(max_pixels / (width * height)))
        wanted = (max(1, int(width * shrink)), max(1, int(height * shrink)))
        if shrink < 1:
            image.draft("RGB", wanted)  # JPEG unpacks straight to an eighth, a quarter or a half
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.size != image.size and (upright.size[0] > upright.size[1]) != (width > height):
            width, height, wanted = height, width, wanted[::-1]
        if shrink < 1:
            upright = upright.resize(wanted, Pillow.Resampling.BOX)
        pixels = np.asarray(on_white(upright))[:, :, ::-1]
    except Pillow.DecompressionBombError as error:
        raise PayloadTooLarge(f"the image would unpack to more than {MAX_DECODED_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise InvalidRequest(f"not an image that can be read; give one of {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        # Pillow's decoders raise any of these on broken files.
        raise InvalidRequest("the image is broken or cut off") from error
    return Picture(np.ascontiguousarray(pixels), width, height)


def on_white(image: Pillow.Image) -> Pillow.Image:
    """The image as RGB, with white where it is transparent."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        page = Pillow.new("RGBA", layer.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(page, layer).convert("RGB")
    if image.mode.startswith("I") or image.mode == "F":
        low, high = image.convert("F").getextrema()
        span = (float(high) - float(low)) or 1.0  # type: ignore[arg-type]  # one band: a pair of numbers
        return image.convert("F").point(lambda value: (value - low) * (255 / span)).convert("L").convert("RGB")
    return image.convert("RGB")
