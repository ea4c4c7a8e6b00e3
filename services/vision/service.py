"""Reads the text of a screen: `ReadRequest` -> `ScreenRead`. Asked by name in a chat, it answers with the text.

All heavy work happens beside the event loop, which stays free for beats and cancels: one image at a time, since the
engine spreads each over all cores.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from services.contracts.catalog import Vision
from services.contracts.errors import Unsupported
from services.contracts.events import Delta, Event, Finished, ScreenLine, ScreenRead, Usage
from services.contracts.messages import ChatRequest, Image, ReadRequest, Task
from services.contracts.price import Price
from services.vision.engine import Engine, Reading
from services.vision.layout import reading_order
from services.vision.picture import Picture, decode, fetch
from services.worker.service import Description, Job, Surroundings

MODEL = "PP-OCRv6-small"


class VisionService:
    """The handler of the `vision` component."""

    def __init__(self, spec: Vision, around: Surroundings, engine: Engine | None = None) -> None:
        self._bus = around.bus
        self._max_pixels = spec.max_pixels
        self._min_confidence = spec.min_confidence
        self._price = spec.price.to_price() if spec.price else Price()
        self._engine = engine or Engine()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vision")
        self._images = 0
        self._lines = 0

    async def start(self) -> None:
        """Load the weights.

        Raises:
            ConfigError: they are not there.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.load)

    def describe(self) -> Description:
        """`read` only. To declare `chat` would make the router offer it for every conversation."""
        return Description(
            MODEL,
            ("read", "answer"),
            price=self._price,
            facts={"images": float(self._images), "lines": float(self._lines)},
        )

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:  # noqa: ARG002 - reading costs no tokens
        """Read one image, or all images of a chat.

        Raises:
            InvalidRequest: an image that is not what it says, or is broken.
            PayloadTooLarge: an image over a limit.
            Unsupported: a request without an image, or for more than its text.
        """
        request = task.request
        if isinstance(request, ReadRequest):
            yield await self._read(request.image)
            yield Finished(Usage())
        elif isinstance(request, ChatRequest):
            images = self._images_of(request)
            screens = [await self._read(image) for image in images]
            yield Delta("\n\n".join("\n".join(line.text for line in screen.lines) for screen in screens))
            yield Finished(Usage(), detail=detail(screens))
        else:
            raise Unsupported("this component reads images and does nothing else")

    async def stop(self) -> None:
        """Let the thread end. The models are freed with the process."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _images_of(request: ChatRequest) -> tuple[Image, ...]:
        if not request.images:
            raise Unsupported("this component reads images; the conversation has none", param="messages")
        if request.tools:
            raise Unsupported("this component calls no tools", param="tools")
        if request.response_format.type != "text":
            raise Unsupported("this component answers in plain text", param="response_format")
        return request.images

    async def _read(self, image: Image) -> ScreenRead:
        data = await fetch(self._bus, image.blob)
        given_up = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            picture, readings = await loop.run_in_executor(self._thread, self._read_in_thread, data, given_up)
        finally:
            given_up.set()  # a thread cannot be cancelled; it looks at this between lines
        screen = to_screen(picture, readings, self._min_confidence)
        self._images += 1
        self._lines += len(screen.lines)
        return screen

    def _read_in_thread(self, data: bytes, given_up: threading.Event) -> tuple[Picture, list[Reading]]:
        picture = decode(data, self._max_pixels)
        return picture, self._engine.read(picture.pixels, given_up)


def to_screen(picture: Picture, readings: list[Reading], min_confidence: float) -> ScreenRead:
    """Readings as lines of the original image, in reading order. Pure."""
    height, width = picture.pixels.shape[:2]
    across, down = picture.width_px / width, picture.height_px / height
    lines = [
        ScreenLine(
            text=reading.text,
            x=round(reading.x * across),
            y=round(reading.y * down),
            w=max(1, round(reading.w * across)),
            h=max(1, round(reading.h * down)),
            confidence=round(reading.confidence, 4),
        )
        for reading in readings
        if reading.text and reading.confidence >= min_confidence
    ]
    return ScreenRead(reading_order(lines), picture.width_px, picture.height_px)


def detail(screens: list[ScreenRead]) -> dict[str, object]:
    """The lines with their boxes, for a client that asked in a chat. `image` counts from 0."""
    return {
        "lines": [
            {
                "text": line.text,
                "x": line.x,
                "y": line.y,
                "w": line.w,
                "h": line.h,
                "confidence": line.confidence,
                "image": index,
            }
            for index, screen in enumerate(screens)
            for line in screen.lines
        ]
    }
