"""How likely each kind of component is to answer a request well, from the request alone. See docs/predictor.md.

One linear head a profile on a sparse vector. Its score becomes a probability by two calibrations, one for wording that
is familiar from the prompts the profile was measured on and one for wording that is not, mixed by how familiar it is:
far from what was measured the estimate falls back towards the average, and its standard deviation grows.
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
FORMAT = 2
MAX_FILE_BYTES = 16 * 1024 * 1024
_MAX_BUCKETS = 1 << 20
_MOST_TOKENS = 100_000.0
_LEAST_SD, _MOST_SD = 0.01, 0.5
# The rows of a file's `calibration`: logistic curve and standard deviation for familiar wording, and for other (`far`).
CALIBRATION = ("slope", "intercept", "far_slope", "far_intercept", "sd", "far_sd")

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
        self._weights, self._scalar_weights, self._familiar, self._idf, self._calibration = (
            arrays[name].astype(np.float32) for name in ("weights", "scalar_weights", "familiar", "idf", "calibration")
        )
        self._tokens_smear = float(arrays["tokens_smear"][0])
        self._columns = [meta.heads.index(profile) for profile in PROFILES]
        self._last: tuple[Features, Array, Array] | None = None

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
        scores, strangeness = self._scored(features)
        quality, sd = (values.tolist() for values in calibrated(scores, strangeness, self._calibration))
        return {profile: Estimate(quality[at], sd[at]) for profile, at in zip(PROFILES, self._columns, strict=True)}

    def expected_output_tokens(self, features: Features) -> float:
        """Mean length of the answer, tokens; at least 1."""
        log_tokens = float(self._scored(features)[0][-1])
        return float(np.clip(np.expm1(min(log_tokens, 12.0)) * self._tokens_smear, 1.0, _MOST_TOKENS))

    def _scored(self, features: Features) -> tuple[Array, Array]:
        """(scores before calibration, strangeness), [heads] each. The last request's are kept: it is asked twice."""
        if self._last is not None and self._last[0] is features:
            return self._last[1:]
        at, values, words = vector(features, self._idf)
        scores = values @ self._weights[at] + scalars(features) @ self._scalar_weights
        strangeness = strangeness_of(at[:words], values[:words], self._familiar)
        self._last = (features, scores, strangeness)
        return scores, strangeness


def calibrated(scores: Array, strangeness: Array, calibration: Array) -> tuple[Array, Array]:
    """(probabilities, their standard deviations) of scores; the last axis of each argument is that of the heads."""
    slope, intercept, far_slope, far_intercept, sd, far_sd = calibration
    near = 1.0 - strangeness
    logit = (near * slope + strangeness * far_slope) * scores + near * intercept + strangeness * far_intercept
    spread = np.sqrt(near * sd**2 + strangeness * far_sd**2)
    return 1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0))), np.clip(spread, _LEAST_SD, _MOST_SD)


def strangeness_of(at: Array, values: Array, familiar: Array) -> Array:
    """[heads]: the share of the words' weight that lies on words the head was not measured on, 0..1.

    `at` and `values` are those of the words: a unit vector. A text without words is wholly strange.
    """
    return np.asarray(np.maximum(1.0 - values**2 @ familiar[at], 0.0))


def vector(features: Features, idf: Array) -> tuple[Array, Array, int]:
    """(buckets, values, how many are of words): words and characters, each a unit vector by tf-idf."""
    at, tf, words = grams(features.text, len(idf))
    values = tf * idf[at]
    values[:words] = _unit(values[:words])
    values[words:] = _unit(values[words:])
    return at, values, words


def _unit(values: Array) -> Array:
    norm = float(np.sqrt(values @ values))
    return values / norm if norm > 0 else values


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
    if not 0 < meta.buckets <= _MAX_BUCKETS or meta.buckets % 2:
        refuse("impossible sizes")
    if not set(PROFILES) <= set(meta.heads[:-1]) or meta.heads[-1:] != ("tokens",):
        refuse("its heads are not the profiles of this program")
    heads = len(meta.heads)
    shapes = {
        "weights": (meta.buckets, heads),
        "scalar_weights": (SCALARS, heads),
        "familiar": (meta.buckets // 2, heads),
        "idf": (meta.buckets,),
        "calibration": (len(CALIBRATION), heads),
        "tokens_smear": (1,),
    }
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.shape != shape:
            refuse(f"{name!r} must have the shape {shape}")
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            refuse(f"{name!r} holds what is not a finite number")
    return meta, arrays
