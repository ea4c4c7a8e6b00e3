"""How likely each kind of component is to answer a request well, from the request alone. See docs/predictor.md.

Linear heads on a sparse vector, several members a profile, each trained without a part of the kinds of task: their mean
is calibrated to a probability, and where they disagree the prompt is unlike what all of them have seen.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from router.features import Features
from router.vectoriser import SCALARS, grams, scalars
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
SHIPPED = Path(__file__).parent / "data" / "predictor.npz"
FORMAT = 1
MAX_FILE_BYTES = 16 * 1024 * 1024
_MAX_BUCKETS = 1 << 20
_MAX_MEMBERS = 64
_MOST_TOKENS = 100_000.0

Array = npt.NDArray[Any]


class Estimate(msgspec.Struct, frozen=True):
    """A predicted probability that the answer is good, 0..1, and its standard deviation."""

    quality: float
    sd: float


class Meta(msgspec.Struct, frozen=True):
    """What a weights file says of itself. `heads` are in the order of its columns; the last one is `tokens`."""

    format: int
    trained: str
    buckets: int
    members: int
    heads: tuple[str, ...]
    sources: tuple[str, ...] = ()
    figures: dict[str, dict[str, float]] = {}


class Predictor:
    """Immutable once loaded; safe to share between tasks.

    Attributes:
        version: month of training and a hash of the weights.
        meta: what the file says of itself: sources, licences, held-out figures.
    """

    def __init__(self, meta: Meta, arrays: dict[str, Array], digest: str) -> None:
        self.meta = meta
        self.version = f"{meta.trained}-{digest[:8]}"
        self._weights = arrays["weights"]
        self._scale = arrays["scale"]
        self._scalar_weights = arrays["scalar_weights"]
        self._idf = arrays["idf"].astype(np.float32)
        self._slope, self._intercept, self._sd_floor, self._sd_slope = arrays["calibration"]
        self._tokens_smear = float(arrays["tokens_smear"][0])
        self._columns = [meta.heads.index(profile) for profile in PROFILES]
        self._last: tuple[Features, Array] | None = None

    @classmethod
    def load(cls, path: Path | None) -> Predictor:
        """The predictor in a file, or the shipped one.

        Raises:
            ConfigError: the file cannot be read, is too large, or is not a predictor.
        """
        file = path or SHIPPED
        try:
            if file.stat().st_size > MAX_FILE_BYTES:
                raise ConfigError(f"{file}: a predictor file has at most {MAX_FILE_BYTES} bytes")
            data = file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
        meta, arrays = _parsed(file, data)
        return cls(meta, arrays, hashlib.sha256(data).hexdigest())

    def predict(self, features: Features) -> dict[str, Estimate]:
        """Every profile at once."""
        raw = self._raw(features)[:, :-1]
        slope, intercept = self._slope[:-1], self._intercept[:-1]
        quality = _sigmoid(slope * raw.mean(axis=0) + intercept)
        spread = _sigmoid(slope * raw + intercept).std(axis=0)
        sd = np.hypot(self._sd_floor[:-1], self._sd_slope[:-1] * spread)
        return {
            profile: Estimate(float(quality[at]), float(min(sd[at], 0.5)))
            for profile, at in zip(PROFILES, self._columns, strict=True)
        }

    def expected_output_tokens(self, features: Features) -> float:
        """Mean length of the answer, tokens; at least 1."""
        log_tokens = float(self._raw(features)[:, -1].mean())
        return float(np.clip(np.expm1(min(log_tokens, 12.0)) * self._tokens_smear, 1.0, _MOST_TOKENS))

    def _raw(self, features: Features) -> Array:
        """Scores before calibration, [members, heads]. The last request's are kept: it is asked for twice."""
        if self._last is not None and self._last[0] is features:
            return self._last[1]
        at, values = vector(features, self._idf)
        sums = values @ self._weights[at].astype(np.float32) * self._scale
        raw: Array = (sums + scalars(features) @ self._scalar_weights).reshape(self.meta.members, len(self.meta.heads))
        self._last = (features, raw)
        return raw


def vector(features: Features, idf: Array) -> tuple[Array, Array]:
    """(buckets, values) of the text: words and characters, each a unit vector by tf-idf."""
    word_at, word_tf, char_at, char_tf = grams(features.text, len(idf))
    return np.concatenate([word_at, char_at]), np.concatenate(
        [_unit(word_tf * idf[word_at]), _unit(char_tf * idf[char_at])]
    )


def _unit(values: Array) -> Array:
    norm = float(np.sqrt(values @ values))
    return values / norm if norm > 0 else values


def _sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))


def _parsed(file: Path, data: bytes) -> tuple[Meta, dict[str, Array]]:
    """The arrays of a file, each with the shape and the finite values it must have."""

    def refuse(why: str) -> NoReturn:
        raise ConfigError(f"{file}: not a predictor ({why})")

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_FILE_BYTES:
                refuse("too large when unpacked")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays: dict[str, Array] = {name: stored[name] for name in stored.files}
        meta = msgspec.json.decode(arrays["meta"].tobytes(), type=Meta)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError, SyntaxError) as error:
        raise ConfigError(f"{file}: not a predictor ({type(error).__name__})") from error
    if meta.format != FORMAT:
        refuse(f"format {meta.format}, this program reads format {FORMAT}")
    if not (0 < meta.buckets <= _MAX_BUCKETS and meta.buckets % 2 == 0 and 0 < meta.members <= _MAX_MEMBERS):
        refuse("impossible sizes")
    if not set(PROFILES) <= set(meta.heads[:-1]) or meta.heads[-1:] != ("tokens",):
        refuse("its heads are not the profiles of this program")
    columns = meta.members * len(meta.heads)
    shapes = {
        "weights": (meta.buckets, columns),
        "scale": (columns,),
        "scalar_weights": (SCALARS, columns),
        "idf": (meta.buckets,),
        "calibration": (4, len(meta.heads)),
        "tokens_smear": (1,),
    }
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.shape != shape:
            refuse(f"{name!r} must have the shape {shape}")
        if array.dtype.kind not in "fi" or not np.isfinite(array).all():
            refuse(f"{name!r} holds what is not a finite number")
    return meta, arrays
