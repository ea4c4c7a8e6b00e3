"""Lines of text as the screenshot that a case shows. Drawn, so that the suite needs no image files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_WIDTH_PX = 640
_LINE_PX = 56
_MARGIN_PX = 32
_FONT_PX = 28


def data_url(lines: Sequence[str]) -> str:
    """A PNG as a data URL."""
    image = Image.new("RGB", (_WIDTH_PX, 2 * _MARGIN_PX + _LINE_PX * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=_FONT_PX)
    for at, line in enumerate(lines):
        draw.text((_MARGIN_PX, _MARGIN_PX + at * _LINE_PX), line, fill="black", font=font)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
