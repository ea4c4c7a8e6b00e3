"""How likely each kind of component is to answer a request well, from the request alone. See docs/predictor.md.

One linear head a profile on a sparse vector. Its score becomes a probability by two calibrations, one for wording that
is familiar from the prompts the profile was measured on and one for wording that is not, mixed by how familiar it is:
far from what was measured the estimate falls back towards the average, and its standard deviation grows.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from router.features import Features
from router.vectoriser import grams, scalars
from router.verify import MEASURED, Verifier
from services.contracts.errors import ConfigError
from services.contracts.predictor_file import PROFILES, Meta, read, refuse, shapes

SHIPPED = Path(__file__).parent / "data" / "predictor.npz"
_MOST_TOKENS = 100_000.0
_LEAST_SD, _MOST_SD = 0.01, 0.5

Array = npt.NDArray[Any]


class Estimate(msgspec.Struct, frozen=True):
    """A predicted probability that the answer is good, 0..1, and its standard deviation."""

    quality: float
    sd: float


class Predictor:
    """Immutable once loaded; safe to share between tasks.

    Attributes:
        version: month of training and a hash of the weights.
        meta: what the file says of itself: sources, licences, held-out figures.
        verifiers: by profile, where what a model's own certainty is worth has been measured.
    """

    def __init__(self, meta: Meta, arrays: dict[str, Array], digest: str) -> None:
        self.meta = meta
        self.version = f"{meta.trained}-{digest[:8]}"
        self._weights, self._scalar_weights, self._familiar, self._idf, self._calibration = (
            arrays[name].astype(np.float32) for name in ("weights", "scalar_weights", "familiar", "idf", "calibration")
        )
        told = {name: Verifier(values[0], values[1:]) for name, values in meta.verifiers.items()}
        self.verifiers: Mapping[str, Verifier] = {**MEASURED, **told}
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
        meta, data = read(file)
        return cls(meta, _arrays(file, meta, data), hashlib.sha256(data).hexdigest())

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


def _arrays(file: Path, meta: Meta, data: bytes) -> dict[str, Array]:
    """The arrays of a file whose form is right, each with the finite values it must have."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays: dict[str, Array] = {name: stored[name] for name in shapes(meta)}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ConfigError(f"{file}: not a predictor ({type(error).__name__})") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            refuse(file, f"{name!r} holds what is not a finite number")
    return arrays
