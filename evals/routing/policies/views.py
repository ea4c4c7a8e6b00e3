"""What the learned policy sees of a prompt: the running router's own vector, hashed words and characters, and counts.

Built on `router.vectoriser`, so that what is measured offline is what can run online, in the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from router.features import Features, bounded
from router.vectoriser import grams, scalars
from services.contracts.predictor_file import SCALARS

BUCKETS = 1 << 15
_COUNTS_WEIGHT = 0.3
_FAR = 3.0

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class Views:
    """Prompts to sparse vectors of `BUCKETS + SCALARS`. Frequencies are learnt from the training prompts alone."""

    def fit(self, prompts: Sequence[str]) -> sp.csr_matrix:
        """Learn how common each bucket is; vectors of the prompts, [n, features]."""
        seen = np.zeros(BUCKETS)
        counted = np.empty((len(prompts), SCALARS), dtype=np.float32)
        for row, prompt in enumerate(prompts):
            at, _, _ = grams(bounded(prompt), BUCKETS)
            seen[at] += 1
            counted[row] = _counts(prompt)
        # What only one prompt has says nothing about others.
        rarity = np.log((1 + len(prompts)) / (1 + seen)) + 1
        self._idf = np.where(seen > 1, rarity, 0).astype(np.float32)
        self._mean, self._sd = counted.mean(axis=0), counted.std(axis=0) + 1e-6
        return self.matrix(prompts)

    def matrix(self, prompts: Sequence[str]) -> sp.csr_matrix:
        """Vectors of prompts, [n, features]."""
        found = [self.vector(prompt) for prompt in prompts]
        ends = np.cumsum([0, *(len(at) for at, _ in found)])
        columns = np.concatenate([at for at, _ in found])
        values = np.concatenate([value for _, value in found])
        return sp.csr_matrix((values, columns, ends), shape=(len(prompts), BUCKETS + SCALARS))

    def vector(self, prompt: str) -> tuple[Ints, Floats]:
        """(columns, values) of one prompt. Words and characters have length 1 each."""
        at, tf, words = grams(bounded(prompt), BUCKETS)
        weights = tf * self._idf[at]
        counts = np.clip((_counts(prompt) - self._mean) / self._sd, -_FAR, _FAR) * (_COUNTS_WEIGHT / SCALARS**0.5)
        parts = [_unit(weights[:words]), _unit(weights[words:]), counts]
        columns = np.concatenate([at, np.arange(BUCKETS, BUCKETS + SCALARS)])
        return columns, np.concatenate(parts).astype(np.float32)


def _counts(prompt: str) -> Floats:
    return scalars(
        Features(
            bounded(prompt),
            turns=1,
            prompt_chars=len(prompt),
            has_images=False,
            has_tools=False,
            wants_json=False,
            system_chars=0,
        )
    )


def _unit(values: Floats) -> Floats:
    return values / max(float(np.sqrt(values @ values)), 1e-9)
