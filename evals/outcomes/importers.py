"""Which formats can be made into outcome tables, by the name they have on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from evals.outcomes import decisions, litellm, paretobandit, routellm, routerbench
from evals.outcomes.read import from_rows
from evals.outcomes.schema import COLUMNS, BadRow, Outcomes
from services.contracts.errors import ConfigError

Rows = Iterator[tuple[int, dict[str, Any] | str]]

IMPORTERS: Mapping[str, Callable[[Path], Rows]] = {
    "routellm": routellm.rows,
    "routerbench": routerbench.rows,
    "paretobandit": partial(paretobandit.rows, split="val"),
    "paretobandit-holdout": partial(paretobandit.rows, split="test_holdout"),
    "litellm": litellm.rows,
    "turnout": decisions.rows,
}


def import_files(kind: str, paths: Iterable[Path]) -> Outcomes:
    """Outcomes out of files of one kind.

    Raises:
        ConfigError: there is no such kind, or a file is not of it.
    """
    if kind not in IMPORTERS:
        raise ConfigError(f"{kind}: not one of {', '.join(IMPORTERS)}")
    frames = [pl.DataFrame(schema=COLUMNS)]
    bad: list[BadRow] = []
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        table = from_rows(IMPORTERS[kind](path), str(path))
        frames.append(table.frame)
        bad += table.bad
    return Outcomes(pl.concat(frames), tuple(bad))
