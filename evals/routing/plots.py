"""The plots of a report, as PNG: cost against quality, the share of the oracle's gap closed, and calibration."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evals.routing.evaluate import Score
from evals.routing.matrix import Floats, Matrix
from evals.routing.metrics import ece

OURS = "turnout"
_STYLES: Mapping[str, tuple[str, str, float]] = {
    "oracle": ("#888888", "--", 1.4),
    "random": ("#bbbbbb", ":", 1.4),
    "length": ("#c49a3a", "-", 1.2),
    "tfidf-ridge": ("#5b8db8", "-", 1.4),
    "knn": ("#7aa874", "-", 1.4),
    OURS: ("#c1272d", "-", 2.4),
}
_RELIABILITY_BINS = 10
_DPI = 130


def cost_quality(test: Matrix, scores: Sequence[Score]) -> bytes:
    """Curves of the policies that have a dial, points of the single models."""
    figure = Figure(figsize=(8.5, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for score in scores:
        order = np.argsort(score.curve.cost, kind="stable")
        x, y = score.curve.cost[order], score.curve.quality[order]
        if score.name in _STYLES:
            colour, line, width = _STYLES[score.name]
            x, y = _mixed(x, y) if score.name == "random" else (x, y)
            axes.plot(x, y, line, color=colour, linewidth=width, label=score.name)
        elif score.name in test.models:
            axes.plot(x, y, "o", color="#333333", markersize=4)
            axes.annotate(
                score.name.rpartition("/")[2],
                (x[0], y[0]),
                fontsize=7,
                xytext=(4, -9),
                textcoords="offset points",
                parse_math=False,
            )
    if test.priced and any(score.curve.cost.max() > 0 for score in scores):  # a table of free models has no logarithms
        axes.set_xscale("log")
    axes.set_xlabel(test.unit)
    axes.set_ylabel("quality")
    axes.set_title(f"{test.name}: {len(test):,} test prompts", parse_math=False)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower right")
    return _png(figure)


def gap_closed(scores: Sequence[Score]) -> bytes:
    """How far each policy comes from random towards the oracle, with 95% intervals."""
    shown = [score for score in scores if score.name in _STYLES and np.isfinite(score.values.get("gap_closed", np.nan))]
    figure = Figure(figsize=(8.5, 0.5 * len(shown) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    values = np.array([score.values["gap_closed"] for score in shown])
    ends = np.array([score.intervals["gap_closed"] for score in shown]).T
    axes.barh(
        [score.name for score in shown],
        values,
        xerr=np.abs(ends - values),
        color=[_STYLES[score.name][0] for score in shown],
        error_kw={"elinewidth": 1, "capsize": 3},
    )
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_xlabel("gap from random (0) to the oracle (1) closed, by AIQ; 95% intervals")
    axes.invert_yaxis()
    return _png(figure)


def calibration(predicted: Floats, quality: Floats) -> bytes:
    """Predicted against measured quality, in groups of equal size."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    p, q = predicted.ravel(), quality.ravel()
    groups = np.array_split(np.argsort(p), _RELIABILITY_BINS)
    axes.plot([0, 1], [0, 1], ":", color="#888888")
    axes.plot([p[g].mean() for g in groups], [q[g].mean() for g in groups], "o-", color=_STYLES[OURS][0])
    axes.set_xlabel("predicted quality")
    axes.set_ylabel("measured quality")
    axes.set_title(f"{OURS}: calibration, ECE {ece(p, q):.3f}")
    axes.grid(alpha=0.25)
    return _png(figure)


def _mixed(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """A straight line of costs is none on a logarithmic axis: drawn with points between its ends."""
    along = np.linspace(0, 1, 50) ** 2
    return x[0] + along * (x[-1] - x[0]), y[0] + along * (y[-1] - y[0])


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
