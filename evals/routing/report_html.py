"""`report.html`: one file that needs nothing else, with the table and the plots."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from evals.routing.evaluate import Score
from evals.routing.matrix import Matrix
from evals.routing.table import headings, rows

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.ours { font-weight: 600; background: #fdf3f3; }
img { max-width: 100%; } dt { font-weight: 600; } dd { margin: 0 0 .4rem 0; }
@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd; } th, td { border-color: #444; }
  tr.ours { background: #3a2525; } img { background: #fff; } }
"""
_MEANING = {
    "APGR": "mean part of the gap between the weak and the strong model that is recovered, over all shares of calls "
    "to the strong one; chance is 0.5",
    "CPT(50%), CPT(80%)": "percentage of calls to the strong model that recovers this part of the gap",
    "AIQ": "mean quality over the costs from the cheapest to the dearest model, random mixes allowed",
    "gap closed": "part of the way from a random mix (0) to the oracle (1), by AIQ",
    "RouterArena": "its score of quality and cost, at the best setting",
    "ECE, Brier": "error of the predicted qualities: mean distance in groups, mean square",
    "decision ms": "median time of one decision in this program, prompt by prompt",
}


def page(
    test: Matrix,
    scores: Sequence[Score],
    budgets: Sequence[float],
    about: Mapping[str, object],
    plots: Mapping[str, bytes],
) -> str:
    """The page."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in ["policy", *(h for _, h in headings(test, budgets))])
    body = "".join(
        f"<tr{' class=ours' if row[0] == 'turnout' else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows(test, scores, budgets)
    )
    facts = "".join(
        f"<dt>{escape(key.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd>" for key, value in about.items()
    )
    meaning = "".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in _MEANING.items())
    images = "".join(_image(title, png) for title, png in plots.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(test.name)}: routing</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(test.name)}: what each policy costs and how good it is</h1>"
        f"<p>{len(test):,} test prompts, {len(test.models)} models, cost in {escape(test.unit)}. ± is half of the 95% "
        "interval, from bootstrap samples of the test prompts.</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"{images}<h2>The figures</h2><dl>{meaning}</dl><h2>The run</h2><dl>{facts}</dl></body></html>\n"
    )


def _image(title: str, png: bytes) -> str:
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f'<h2>{escape(title)}</h2><img alt="{escape(title)}" src="{source}">'
