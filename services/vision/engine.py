"""PP-OCR on onnxruntime: finds the lines of an image, then reads each. The parts and the weights are RapidOCR's.

RapidOCR's detector and recognizer are used one by one, without its front end, for three reasons: the front end shrinks
large screens before it cuts the lines out (small letters are lost), it looks for newer weights on the network, and it
cannot be interrupted.

Lines are read one by one, as many at once as there are cores, each on one: in batches that share their cores they took
a third longer, since short ones are filled up to the longest and the cores wait for each other after every layer. On
two cores a full 1280x720 screen takes 0.3 s to find its lines and 0.015 to 0.04 s for each of them; where nothing is
drawn, nothing is looked for.

Nothing here is imported before `load`: that takes longer than everything else in this process.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.contracts.errors import Cancelled, ConfigError
from services.vision.tiles import Box, join_pieces, tiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DETECTOR_WEIGHTS = "PP-OCRv6_det_small.onnx"
RECOGNIZER_WEIGHTS = "PP-OCRv6_rec_small.onnx"

DETECTED_PIXELS = 4_200_000
"""Lines are looked for on at most this many pixels and read on the full image: 3840x2160 is looked at in 0.7 of it."""

_STEP_PX = 32  # the detector's strides need sides that are multiples of it
_MARGIN_PX = 32  # of emptiness around what is drawn: a letter needs its surroundings to be found
_LEAST_PX = 2  # narrower is no line
_INK_STEP = 12  # of 255: how much a pixel must differ from its neighbour to be ink
_LINE_SHAPE = (3, 48, 64)  # channels, height, least width of a line for the recognizer


@dataclass(frozen=True)
class Reading:
    """A line as read. `x`, `y`, `w`, `h` bound it, in pixels of the image that was given; `confidence` 0..1."""

    text: str
    x: float
    y: float
    w: float
    h: float
    confidence: float


class Engine:
    """One loaded model pair. Not thread-safe: one thread loads it and reads with it."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or available_cores()
        self._detector: Any = None
        self._recognizer: Any = None
        self._input: Any = None

    def load(self) -> None:
        """Import the libraries and load the weights, once. Blocks for about two seconds.

        Raises:
            ConfigError: the package or its weights are not there.
        """
        if self._recognizer is not None:
            return
        # ONNX Runtime's own builds report their use to Microsoft, unless this is set before they are imported.
        # Source: https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        try:
            import rapidocr  # noqa: PLC0415 - heavy, see the module's docstring
            from rapidocr.ch_ppocr_det import TextDetector  # noqa: PLC0415
            from rapidocr.ch_ppocr_rec import TextRecInput, TextRecognizer  # noqa: PLC0415
            from rapidocr.utils.log import logger  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(f"vision needs the `vision` extra: {error.name} cannot be imported") from error
        logger.setLevel("ERROR")
        weights = Path(rapidocr.__file__).parent / "models"
        self._input = TextRecInput
        self._detector = TextDetector(
            self._config(
                weights / DETECTOR_WEIGHTS,
                self._threads,
                limit_side_len=10**6,  # never scale: `_find` has done it
                limit_type="max",
                thresh=0.3,
                box_thresh=0.5,
                unclip_ratio=1.6,
                use_dilation=True,
            )
        )
        self._recognizer = TextRecognizer(
            self._config(
                weights / RECOGNIZER_WEIGHTS,
                1,
                lang_type="ch",  # the one model for Latin, Chinese and Japanese
                rec_batch_num=1,
                rec_img_shape=list(_LINE_SHAPE),
                font_path=None,
            )
        )

    def read(self, pixels: NDArray[np.uint8], given_up: threading.Event) -> list[Reading]:
        """All lines of an image, in no particular order. Looks at `given_up` between tiles and lines.

        Args:
            pixels: (height, width, 3) uint8, blue-green-red.
            given_up: set when nobody wants the result any more.

        Raises:
            Cancelled: `given_up` was set.
        """
        quads = self._find(pixels, given_up)
        # The longest first, so that no core is left alone with one at the end.
        quads.sort(key=_longness, reverse=True)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="vision-line") as readers:
            return list(readers.map(lambda quad: self._read_line(pixels, quad, given_up), quads))

    def _read_line(self, pixels: NDArray[np.uint8], quad: NDArray[np.float32], given_up: threading.Event) -> Reading:
        from rapidocr.utils.process_img import get_rotate_crop_image  # noqa: PLC0415 - loaded by now

        _go_on(given_up)
        crop = get_rotate_crop_image(pixels, quad.copy())
        result = self._recognizer(self._input(img=[crop], return_word_box=False))
        (left, top), (right, bottom) = quad.min(axis=0), quad.max(axis=0)
        return Reading(
            str(result.txts[0]).strip(),
            float(left),
            float(top),
            float(right - left),
            float(bottom - top),
            float(result.scores[0]),
        )

    def _find(self, pixels: NDArray[np.uint8], given_up: threading.Event) -> list[NDArray[np.float32]]:
        """The corners of every line: clockwise from top left, in pixels of the image given."""
        import cv2  # noqa: PLC0415 - loaded by now
        import numpy as np  # noqa: PLC0415

        height, width = pixels.shape[:2]
        scale = min(1.0, (DETECTED_PIXELS / (height * width)) ** 0.5)
        if scale < 1:
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ink = _ink(pixels)
        places = tiles(ink)
        quads: list[NDArray[np.float32]] = []
        pieces: list[tuple[Box, int]] = []
        for number, place in enumerate(places):
            _go_on(given_up)
            drawn = _drawn(ink, place)
            if drawn is None:
                continue
            rows, columns = drawn
            for quad in self._find_in_tile(pixels[rows, columns]):
                moved = quad + np.array((columns.start, rows.start), dtype=np.float32)
                (left, top), (right, bottom) = moved.min(axis=0), moved.max(axis=0)
                if right - left >= _LEAST_PX and bottom - top >= _LEAST_PX:
                    quads.append(moved)
                    pieces.append((Box(float(left), float(top), float(right), float(bottom)), number))

        def inked(y: float, left: float, right: float) -> bool:
            return bool(ink[int(y) - 1 : int(y) + 1, int(left) : int(right) + 1].all(axis=0).any())

        groups = join_pieces(pieces, places, inked)
        joined = [quads[g[0]] if len(g) == 1 else _corners([pieces[index][0] for index in g]) for g in groups]
        limits = np.array((width - 1, height - 1), dtype=np.float32)
        return [np.clip(quad / scale, 0, limits).astype(np.float32) for quad in joined]

    def _find_in_tile(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The corners of the lines on one tile, (lines, 4, 2), in its own pixels."""
        import cv2  # noqa: PLC0415 - loaded by now
        import numpy as np  # noqa: PLC0415

        height, width = pixels.shape[:2]
        # Filled up with its own edge, an image keeps its proportions, and even a strip 14 px high can be read.
        padded = cv2.copyMakeBorder(pixels, 0, -height % _STEP_PX, 0, -width % _STEP_PX, cv2.BORDER_REPLICATE)
        boxes = self._detector(padded).boxes
        if boxes is None:
            return np.empty((0, 4, 2), dtype=np.float32)
        return np.clip(np.asarray(boxes, dtype=np.float32), 0, np.array((width, height), dtype=np.float32))

    @staticmethod
    def _config(weights: Path, threads: int, **more: object) -> Any:
        """A configuration that carries its own session, so that RapidOCR neither downloads nor sets threads itself."""
        import onnxruntime  # noqa: PLC0415 - heavy
        from omegaconf import OmegaConf  # noqa: PLC0415
        from rapidocr import EngineType  # noqa: PLC0415

        if not weights.is_file():
            raise ConfigError(f"{weights.name} is missing from the rapidocr package; reinstall it")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Idle threads sleep: the other components of this machine need the cores between two images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False  # else the largest image ever read stays in memory
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
        return OmegaConf.create(
            {"engine_type": EngineType.ONNXRUNTIME, "session": session, **more}, flags={"allow_objects": True}
        )


def _ink(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where something is drawn: pixels that differ from the next one, to the right or below."""
    import cv2  # noqa: PLC0415 - loaded by now
    import numpy as np  # noqa: PLC0415 - loaded by now

    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    ink = np.zeros(grey.shape, dtype=np.bool_)
    ink[:, :-1] = _apart(grey[:, 1:], grey[:, :-1])
    ink[:-1] |= _apart(grey[1:], grey[:-1])
    return ink


def _drawn(ink: NDArray[np.bool_], place: Box) -> tuple[slice, slice] | None:
    """The rows and columns of a tile outside of which it is empty, with some of the emptiness; None if all of it is."""
    import numpy as np  # noqa: PLC0415 - loaded by now

    top, bottom, left, right = int(place.top), int(place.bottom), int(place.left), int(place.right)
    inside = ink[top:bottom, left:right]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not rows.size:
        return None
    return (
        slice(max(top, top + int(rows[0]) - _MARGIN_PX), min(bottom, top + int(rows[-1]) + 1 + _MARGIN_PX)),
        slice(max(left, left + int(columns[0]) - _MARGIN_PX), min(right, left + int(columns[-1]) + 1 + _MARGIN_PX)),
    )


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    import numpy as np  # noqa: PLC0415 - loaded by now

    return np.maximum(one, other) - np.minimum(one, other) > _INK_STEP


def _longness(quad: NDArray[np.float32]) -> float:
    """How many times as long as high: the recognizer makes every line equally high, so this is what it takes."""
    width, height = quad.max(axis=0) - quad.min(axis=0)
    return float(max(width, height) / max(1.0, min(width, height)))


def _corners(boxes: list[Box]) -> NDArray[np.float32]:
    """The corners of the least upright box around some."""
    import numpy as np  # noqa: PLC0415 - loaded by now

    whole = reduce(Box.joined, boxes)
    return np.array(
        [(whole.left, whole.top), (whole.right, whole.top), (whole.right, whole.bottom), (whole.left, whole.bottom)],
        dtype=np.float32,
    )


def _go_on(given_up: threading.Event) -> None:
    if given_up.is_set():
        raise Cancelled("nobody waits for this image any more")


def available_cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
