"""The form of a predictor's weights file, checked without loading it: for the controller; the router reads it.

A NumPy archive (`.npz`) without pickled objects: `meta`, JSON as bytes, and the arrays that `shapes` lists.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import io
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from services.contracts.errors import ConfigError

PROFILES: tuple[str, ...] = (
    "tiny",
    "small",
    "medium",
    "large",
    "tool_agent",
    "screen_agent",
    "grounded_tiny",
    "grounded_small",
    "grounded_medium",
    "grounded_large",
)
FORMAT = 2
SCALARS = 18
VERIFIER_WEIGHTS = 3
MAX_FILE_BYTES = 16 * 1024 * 1024
# The rows of a file's `calibration`: logistic curve and standard deviation for familiar wording, and for other (`far`).
CALIBRATION = ("slope", "intercept", "far_slope", "far_intercept", "sd", "far_sd")
_MAX_BUCKETS = 1 << 20
_MAX_HEADER_BYTES = 10_000
_MAGIC = b"\x93NUMPY"
_BAD = (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError, SyntaxError, RecursionError)


class Meta(msgspec.Struct, frozen=True):
    """What a weights file says of itself.

    Attributes:
        heads: in the order of its columns; the last one is `tokens`.
        verifiers: by profile, the power and the `VERIFIER_WEIGHTS` weights of a cascade's verifier.
    """

    format: int
    trained: str
    buckets: int
    heads: tuple[str, ...]
    sources: tuple[str, ...] = ()
    figures: dict[str, dict[str, float]] = {}
    verifiers: dict[str, tuple[float, ...]] = {}


def read(file: Path) -> tuple[Meta, bytes]:
    """(what it says of itself, all its bytes) of a file whose form is right. Its numbers have not been looked at.

    Raises:
        ConfigError: the file cannot be read, is too large, or is not a predictor.
    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{file}: a predictor file has at most {MAX_FILE_BYTES} bytes")
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_FILE_BYTES:
                refuse(file, "too large when unpacked")
            names = {entry.filename.removesuffix(".npy") for entry in archive.infolist()}
            with archive.open("meta.npy") as stored:
                _header(stored)
                meta = msgspec.json.decode(stored.read(), type=Meta)
            headers = {}
            for name in names:
                with archive.open(f"{name}.npy") as stored:
                    headers[name] = _header(stored)
    except _BAD as error:
        raise ConfigError(f"{file}: not a predictor ({type(error).__name__})") from error
    _check(file, meta, headers)
    return meta, data


def refuse(file: Path, why: str) -> NoReturn:
    """Say that a file is no predictor.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{file}: not a predictor ({why})")


def shapes(meta: Meta) -> dict[str, tuple[int, ...]]:
    """The arrays beside `meta`, and the shape of each."""
    heads = len(meta.heads)
    return {
        "weights": (meta.buckets, heads),
        "scalar_weights": (SCALARS, heads),
        "familiar": (meta.buckets // 2, heads),
        "idf": (meta.buckets,),
        "calibration": (len(CALIBRATION), heads),
        "tokens_smear": (1,),
    }


def _check(file: Path, meta: Meta, headers: dict[str, dict[str, Any]]) -> None:
    if meta.format != FORMAT:
        refuse(file, f"format {meta.format}, this program reads format {FORMAT}")
    if not 0 < meta.buckets <= _MAX_BUCKETS or meta.buckets % 2:
        refuse(file, "impossible sizes")
    if not set(PROFILES) <= set(meta.heads[:-1]) or meta.heads[-1:] != ("tokens",):
        refuse(file, "its heads are not the profiles of this program")
    if any(len(v) != 1 + VERIFIER_WEIGHTS or not v[0] > 0 for v in meta.verifiers.values()):
        refuse(file, "a verifier of another form")
    for name, shape in shapes(meta).items():
        header = headers.get(name)
        if header is None or header.get("shape") != shape:
            refuse(file, f"{name!r} must have the shape {shape}")
        if str(header.get("descr"))[1:2] not in ("f", "i", "u"):
            refuse(file, f"{name!r} does not hold numbers")


def _header(stored: Any) -> dict[str, Any]:
    """The header of a `.npy` file: what its array is like.

    Raises:
        ValueError: it has none.
    """
    magic = stored.read(8)
    if magic[:6] != _MAGIC:
        raise ValueError("no array")
    length = int.from_bytes(stored.read(2 if magic[6] == 1 else 4), "little")
    if length > _MAX_HEADER_BYTES:
        raise ValueError("a header of absurd length")
    header = ast.literal_eval(stored.read(length).decode("latin-1").strip())
    if not isinstance(header, dict):
        raise ValueError("no header")  # noqa: TRY004 - it is what was read that is wrong
    return header
