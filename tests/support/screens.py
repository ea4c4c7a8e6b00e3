"""Screenshots drawn for tests: each knows the lines it shows and where they are, in reading order."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from services.contracts.messages import Blob, Image

Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
BLACK: Color = (20, 20, 20)
GREY: Color = (110, 110, 110)


@dataclass(frozen=True)
class Line:
    """A line as drawn. Pixels, origin top left."""

    text: str
    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True)
class Screen:
    """A drawn screenshot."""

    picture: Pillow.Image
    lines: tuple[Line, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(line.text for line in self.lines)

    def encoded(self, kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        self.picture.save(file, kind)
        return file.getvalue()

    def image(self) -> Image:
        """As a request carries it, inline."""
        return inline(self.encoded(), self.picture.width, self.picture.height)


def inline(data: bytes, width_px: int, height_px: int, mime: str = "image/png") -> Image:
    """Bytes as an image of a request, with a correct digest and size."""
    return Image(Blob(hashlib.sha256(data).hexdigest(), len(data), data=data), mime, width_px, height_px)


@dataclass
class Drawing:
    """A canvas that remembers what was written on it."""

    width_px: int
    height_px: int
    background: Color = WHITE
    ink: Color = BLACK
    lines: list[Line] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.picture = Pillow.new("RGB", (self.width_px, self.height_px), self.background)
        self._draw = ImageDraw.Draw(self.picture)

    def write(self, x: int, y: int, text: str, size_px: int = 18, ink: Color | None = None) -> None:
        font = ImageFont.load_default(size=size_px)  # a scalable font that Pillow carries
        self._draw.text((x, y), text, fill=ink or self.ink, font=font)
        left, top, right, bottom = self._draw.textbbox((x, y), text, font=font)
        self.lines.append(Line(text, round(left), round(top), round(right - left), round(bottom - top)))

    def box(self, x: int, y: int, w: int, h: int, *, fill: Color | None = None, outline: Color | None = None) -> None:
        self._draw.rectangle((x, y, x + w, y + h), fill=fill, outline=outline)

    def screen(self) -> Screen:
        return Screen(self.picture, tuple(self.lines))


def invoice(scale: float = 1.0) -> Screen:
    """An invoice with a table of three items: rows read across."""

    def at(px: int) -> int:
        return round(px * scale)

    page = Drawing(at(1000), at(700))
    page.write(at(60), at(40), "INVOICE 2024-0117", at(34))
    page.write(at(60), at(110), "Northwind Traders Ltd", at(20))
    page.write(at(660), at(110), "Due date: 14 March 2024", at(20))
    page.box(at(60), at(190), at(880), at(36), fill=(230, 236, 245))
    page.write(at(70), at(196), "Item", at(20))
    page.write(at(560), at(196), "Quantity", at(20))
    page.write(at(800), at(196), "Price", at(20))
    for row, (item, quantity, price) in enumerate(
        (("Ergonomic keyboard", "12", "948.00"), ("Laser printer", "2", "613.50"), ("Support contract", "1", "250.00"))
    ):
        y = at(250 + 50 * row)
        page.write(at(70), y, item, at(20))
        page.write(at(560), y, quantity, at(20))
        page.write(at(800), y, price, at(20))
    page.write(at(660), at(450), "Total", at(24))
    page.write(at(800), at(450), "1811.50 EUR", at(24))
    page.write(at(60), at(620), "Please pay within 30 days to account 4471 8829.", at(18))
    return page.screen()


def error_dialog() -> Screen:
    """A dialog over a grey desktop: title, message, error code and two buttons on one row."""
    page = Drawing(800, 450, background=(120, 140, 160))
    page.box(120, 80, 560, 280, fill=(245, 245, 245), outline=BLACK)
    page.box(120, 80, 560, 40, fill=(40, 90, 170))
    page.write(136, 88, "Backup failed", 20, WHITE)
    page.write(160, 150, "The destination disk is full.", 20)
    page.write(160, 190, "Free at least 2.4 GB and try again.", 20)
    page.write(160, 240, "Error code: 0x80070070", 18, GREY)
    page.box(400, 300, 110, 40, fill=(225, 225, 225), outline=GREY)
    page.write(428, 308, "Retry", 20)
    page.box(540, 300, 110, 40, fill=(225, 225, 225), outline=GREY)
    page.write(562, 308, "Cancel", 20)
    return page.screen()


def settings_window() -> Screen:
    """A dark window of labels and values."""
    page = Drawing(900, 480, background=(30, 31, 36), ink=(225, 227, 232))
    page.write(40, 30, "Display settings", 28)
    for row, (label, value) in enumerate(
        (("Brightness", "70 %"), ("Resolution", "2560 x 1440"), ("Refresh rate", "144 Hz"), ("Night light", "Off"))
    ):
        page.write(40, 110 + 60 * row, label, 18)
        page.write(620, 110 + 60 * row, value, 18, (120, 190, 255))
    page.write(40, 400, "Changes apply at the next login.", 16, (150, 152, 160))
    return page.screen()


LEFT_COLUMN = (
    "The harbour was built in 1887",
    "by engineers from Rotterdam.",
    "Its two cranes could lift",
    "forty tonnes of coal an hour,",
    "more than any port nearby.",
)
RIGHT_COLUMN = (
    "Today the cranes are a museum",
    "that opens from May to October.",
    "Visitors may climb the taller",
    "one and see the whole bay",
    "on a clear afternoon.",
)


def two_columns() -> Screen:
    """A page of prose in two columns under one headline: each column is read to its end."""
    page = Drawing(1000, 460)
    page.write(250, 30, "The cranes of the old harbour", 32)
    for x, column in ((60, LEFT_COLUMN), (540, RIGHT_COLUMN)):
        for row, text in enumerate(column):
            page.write(x, 120 + 36 * row, text, 22)
    page.write(60, 400, "Page 12 of the harbour guide", 18, GREY)
    return page.screen()


def small_text() -> Screen:
    """A status area in 10 px letters."""
    page = Drawing(520, 150)
    for row, text in enumerate(
        (
            "Connection to build-server-07 lost at 10:42:18",
            "Retrying in 15 seconds, attempt 3 of 8",
            "Last successful sync: 2 hours ago",
            "Queue length 148, oldest entry 00:31:05",
        )
    ):
        page.write(12, 12 + 24 * row, text, 10)
    return page.screen()
