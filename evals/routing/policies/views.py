"""What the learned policy sees of a prompt: words and runs of characters, twice, and a few counts.

Prompts of real traffic repeat themselves: a template, the same worked examples before each question. In one view
everything counts; in the other, what stands in more than a quarter of the prompts is left out, so that the part that
differs is not drowned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

from router.features import Features, bounded
from router.vectoriser import scalars

_WORD = r"(?u)\w+|[^\w\s]"
_COMMON = 0.25
_RARE_WEIGHT = 1.0
_COUNTS_WEIGHT = 0.3


def _vectorisers(most: float) -> list[TfidfVectorizer]:
    shared = {"sublinear_tf": True, "min_df": 2, "max_df": most, "dtype": np.float32}
    return [
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=_WORD, **shared),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **shared),
    ]


class Views:
    """Prompts to vectors. Learnt from the training prompts alone."""

    def __init__(self, *, rare: bool = True, counts: bool = True) -> None:
        self._parts = [(vectoriser, 1.0) for vectoriser in _vectorisers(1.0)]
        if rare:
            self._parts += [(vectoriser, _RARE_WEIGHT) for vectoriser in _vectorisers(_COMMON)]
        self._counts = counts

    def fit(self, prompts: Sequence[str]) -> sp.csr_matrix:
        """Learn the vocabulary; vectors of the prompts, [n, features]."""
        blocks = [vectoriser.fit_transform(prompts) * weight for vectoriser, weight in self._parts]
        counted = counts(prompts)
        self._mean, self._sd = counted.mean(axis=0), counted.std(axis=0) + 1e-6
        return self._joined(blocks, counted)

    def transform(self, prompts: Sequence[str]) -> sp.csr_matrix:
        """Vectors of prompts, [n, features]."""
        return self._joined([v.transform(prompts) * weight for v, weight in self._parts], counts(prompts))

    def _joined(self, blocks: list[sp.csr_matrix], counted: npt.NDArray[np.float32]) -> sp.csr_matrix:
        if self._counts:
            scaled = np.clip((counted - self._mean) / self._sd, -3, 3) * _COUNTS_WEIGHT / np.sqrt(counted.shape[1])
            blocks = [*blocks, sp.csr_matrix(scaled)]
        return sp.hstack(blocks).tocsr().astype(np.float32)


def counts(prompts: Sequence[str]) -> npt.NDArray[np.float32]:
    """[n, counts]: length, digits, lines, signs; as the running router counts them."""
    seen = [Features(bounded(p), 1, len(p), False, False, False, 0) for p in prompts]
    return np.array([scalars(features) for features in seen])
