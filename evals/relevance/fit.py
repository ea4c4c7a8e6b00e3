"""Fits how likely a passage bears on a query, and measures it on documents and questions held out.

    OMP_WAIT_POLICY=passive python -m evals.relevance.fit      # writes relevance.json and background.npz of retrieval

Pairs come from `questions.yaml`: a question with the passage that answers it (1), the nearest passages when its
document is left out (0), and the nearest passages to a question that no document answers (0). READMEs of installed
packages stand beside the documents written for this; leaving one out proves nothing, for its neighbours may well bear
on the question, so they give no negatives of the second kind. Deterministic for one lock file; about a minute on two
idle cores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from services.retrieval.blocks import of_markdown, title_of
from services.retrieval.chunk import cut
from services.retrieval.embed import VERSION, Embedder, Vector
from services.retrieval.lexical import content_analyzer
from services.retrieval.relevance import FEATURES, Background, Fit, Relevance, features

HERE = Path(__file__).parent
SHIPPED = HERE.parent.parent / "services" / "retrieval"
_README = "README "
_README_CHARS = 3500
_CHUNK_CHARS = 900
_NEAREST = 2  # negatives of a question in training
_CANDIDATES = 8  # passages of a question in the measurement: the maximum over them is what the router sees
_FOLDS = 3  # every third document and question is held out


class Text(NamedTuple):
    """A question or a passage, with the document it belongs to (empty: none)."""

    about: str
    text: str
    vector: Vector
    words: list[str]


class Case(NamedTuple):
    """A question, the words of its answer, and whether it is held out."""

    question: Text
    answer: str
    held_out: bool


def main() -> None:
    """Fit, measure, write."""
    embedder = Embedder()
    labelled = yaml.safe_load((HERE / "questions.yaml").read_text())
    passages = list(_passages(embedder, labelled["about"]))
    beside = [_question(embedder, "", text) for text in labelled["beside"]]
    general = yaml.safe_load((HERE / "background.yaml").read_text())
    background = Background(
        passages=_half(np.stack([embedder.embed(text, "passage") for text in general])),
        questions=_half(np.stack([question.vector for question in beside[::_FOLDS]])),
    )
    cases = [
        Case(_question(embedder, about, text.split(" -> ")[0]), text.split(" -> ")[1], number % _FOLDS == 0)
        for number, (about, texts) in enumerate(sorted(labelled["about"].items()))
        for text in texts
    ]
    cases += [Case(question, "", False) for question in beside[1::_FOLDS]]
    cases += [Case(question, "", True) for question in beside[2::_FOLDS]]

    rows, labels = _training(background, [case for case in cases if not case.held_out], passages)
    model = LogisticRegression(C=1e3, max_iter=5000).fit(rows, labels)
    weights = tuple(round(float(weight), 4) for weight in model.coef_[0])
    fit = Fit(VERSION, weights, round(float(model.intercept_[0]), 4), {})  # type: ignore[arg-type]  # three, as FEATURES
    measured = _measure(Relevance(background, fit), [case for case in cases if case.held_out], passages)
    np.savez_compressed(
        SHIPPED / "background.npz",
        passages=background.passages.astype(np.float16),
        questions=background.questions.astype(np.float16),
    )
    shipped = {
        "note": "written by `python -m evals.relevance.fit`, which says how; do not edit",
        "embedder": VERSION,
        "features": FEATURES,
        "weights": weights,
        "intercept": fit.intercept,
        "pairs": len(labels),
        "held_out": measured,
    }
    (SHIPPED / "relevance.json").write_text(json.dumps(shipped, indent=2) + "\n")
    print(json.dumps(shipped, indent=2))  # noqa: T201 - a program's output


def _passages(embedder: Embedder, names: Iterable[str]) -> Iterable[Text]:
    stems = content_analyzer()
    for name in sorted(names):
        if name.startswith(_README):
            described = metadata.distribution(name.removeprefix(_README)).read_text("METADATA") or ""
            text = described.partition("\n\n")[2][:_README_CHARS]
        else:
            text = (HERE / "documents" / f"{name}.md").read_text()
        blocks = of_markdown(text)
        title = title_of(blocks)
        for chunk in cut(blocks, _CHUNK_CHARS):
            heading = chunk.trail if chunk.trail.startswith(title) else f"{title} {chunk.trail}"
            whole = f"{heading}\n{chunk.text}"
            yield Text(name, chunk.text, embedder.embed(whole, "passage"), stems.analyze(whole))


def _question(embedder: Embedder, about: str, text: str) -> Text:
    return Text(about, text, embedder.embed(text, "query"), content_analyzer().analyze(text))


def _half(vectors: Vector) -> Vector:
    """As precise as they will be shipped."""
    return vectors.astype(np.float16).astype(np.float32)


def _training(
    background: Background, cases: list[Case], passages: list[Text]
) -> tuple[npt.NDArray[np.float64], list[int]]:
    rows: list[tuple[float, float, float]] = []
    labels: list[int] = []

    def add(question: Text, passage: Text, label: int) -> None:
        rows.append(features(background, question.vector, question.words, passage.vector, passage.words))
        labels.append(label)

    for case in cases:
        question = case.question
        if question.about:
            gold = [p for p in passages if p.about == question.about]
            add(question, _nearest(question, [p for p in gold if _answers(p, case)] or gold)[0], 1)
        if not question.about.startswith(_README):
            for passage in _nearest(question, [p for p in passages if p.about != question.about])[:_NEAREST]:
                add(question, passage, 0)
    return np.array(rows), labels


def _measure(judge: Relevance, cases: list[Case], passages: list[Text]) -> dict[str, float]:
    """What the router would see: the greatest relevance among the candidates of a question."""

    def greatest(question: Text, among: list[Text]) -> float:
        return max(
            judge.of(question.vector, question.words, p.vector, p.words)
            for p in _nearest(question, among)[:_CANDIDATES]
        )

    answered = np.array([greatest(case.question, passages) for case in cases if case.question.about])
    unrelated = np.array([greatest(case.question, passages) for case in cases if not case.question.about])
    missing = np.array(
        [
            greatest(case.question, [p for p in passages if p.about != case.question.about])
            for case in cases
            if case.question.about and not case.question.about.startswith(_README)
        ]
    )
    scores = np.concatenate([answered, unrelated, missing])
    labels = np.concatenate([np.ones(len(answered)), np.zeros(len(unrelated) + len(missing))])
    return {
        "answered": len(answered),
        "answered_above_0.7": float((answered > 0.7).mean().round(3)),  # noqa: PLR2004 - named by the key
        "answered_above_0.5": float((answered > 0.5).mean().round(3)),  # noqa: PLR2004 - named by the key
        "unrelated": len(unrelated),
        "unrelated_below_0.2": float((unrelated < 0.2).mean().round(3)),  # noqa: PLR2004 - named by the key
        "unrelated_below_0.5": float((unrelated < 0.5).mean().round(3)),  # noqa: PLR2004 - named by the key
        "document_missing": len(missing),
        "document_missing_below_0.5": float((missing < 0.5).mean().round(3)),  # noqa: PLR2004 - named by the key
        "roc_auc": round(float(roc_auc_score(labels, scores)), 4),
        "brier": round(float(brier_score_loss(labels, scores)), 4),
    }


def _nearest(question: Text, passages: list[Text]) -> list[Text]:
    return sorted(passages, key=lambda passage: -float(question.vector @ passage.vector))


def _answers(passage: Text, case: Case) -> bool:
    return case.answer.lower() in passage.text.lower()


if __name__ == "__main__":
    main()
