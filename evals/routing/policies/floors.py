"""The floors: what five seconds of training reach. A router that does not beat them is not worth its trouble."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors

from evals.progress import Tell, silent
from evals.routing.dial import Prediction
from evals.routing.matrix import Floats, Matrix
from evals.routing.policies.base import Predicting

_NEIGHBOURS = 40
_LONGEST = 20_000  # characters of a prompt that are read: a few documents of megabytes would take minutes


class _TfIdf(Predicting):
    """Words, word pairs, and runs of three to five characters; costs as they were on average."""

    _mean_cost: Floats

    def __init__(self) -> None:
        self._words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
        self._chars = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 5), min_df=2)
        self._views: list[TfidfVectorizer] = []

    def _fitted(self, train: Matrix) -> sp.csr_matrix:
        self._mean_cost = train.cost.mean(axis=0)
        texts = [prompt[:_LONGEST] for prompt in train.prompts]
        parts = []
        for vectoriser in (self._words, self._chars):
            with suppress(ValueError):  # what it says where no word, or run of characters, is in two prompts
                parts.append(vectoriser.fit_transform(texts))
                self._views.append(vectoriser)
        return sp.hstack(parts).tocsr() if parts else sp.csr_matrix((len(texts), 1))

    def _vectors(self, prompts: Sequence[str]) -> sp.csr_matrix:
        texts = [prompt[:_LONGEST] for prompt in prompts]
        if not self._views:
            return sp.csr_matrix((len(texts), 1))
        return sp.hstack([vectoriser.transform(texts) for vectoriser in self._views]).tocsr()

    def _prediction(self, quality: Floats) -> Prediction:
        return Prediction(quality, np.broadcast_to(self._mean_cost, quality.shape))


class TfIdfRidge(_TfIdf):
    """Ridge regression of each model's quality."""

    name = "tfidf-ridge"

    def fit(self, train: Matrix, tell: Tell = silent) -> None:  # noqa: ARG002 - done in a moment
        """One weight vector a model."""
        self._ridge = Ridge(alpha=1.0, solver="sparse_cg").fit(self._fitted(train), train.quality)

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Bounded to 0..1."""
        found = self._ridge.predict(self._vectors(prompts)).reshape(len(prompts), -1)
        return self._prediction(np.clip(found, 0, 1))


class Knn(_TfIdf):
    """Mean quality of the nearest training prompts, by cosine."""

    name = "knn"

    def fit(self, train: Matrix, tell: Tell = silent) -> None:  # noqa: ARG002 - done in a moment
        """Keep everything."""
        self._quality = train.quality
        vectors = self._fitted(train)
        self._index = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(train)), metric="cosine").fit(vectors)

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """The mean of the neighbours."""
        near = self._index.kneighbors(self._vectors(prompts), return_distance=False)
        return self._prediction(self._quality[near].mean(axis=1))
