"""Turnout's own decision log as JSON lines: one `Decision` a line, as JetStream keeps it.

A decision holds everything about a request but its text and how good the answer was. Whoever exports the log adds what
is known of them: `prompt`, and `quality` (from feedback, 0..1).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from services.contracts.decision import Candidate
from services.contracts.errors import ConfigError
from services.contracts.events import Usage


class Logged(msgspec.Struct, frozen=True):
    """The fields of a decision that the evals read, with what was learnt later.

    Attributes:
        propensities: probability of each component at the time of the choice; empty: the choice was not random.
    """

    id: str
    created_s: float = 0.0
    requested: str = "auto"
    component: str = ""
    candidates: tuple[Candidate, ...] = ()
    usage: Usage = Usage()
    total_ms: float | None = None
    decision_ms: float = 0.0
    features: dict[str, float] = {}
    prompt: str = ""
    quality: float | None = None
    propensities: dict[str, float] = {}
    tenant: str = ""


_DECODER = msgspec.json.Decoder(Logged)


def read(path: Path) -> Iterator[tuple[int, Logged | str]]:
    """The decisions of a log, numbered by line; in place of one that cannot be read, the reason.

    Raises:
        ConfigError: there is no such file.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                logged = _DECODER.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                yield number, str(error)
                continue
            yield number, _sound(logged)


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The log as outcomes: decisions whose text and quality are known."""
    for number, logged in read(path):
        if isinstance(logged, str):
            yield number, logged
        elif not logged.prompt or logged.quality is None:
            yield number, f"decision {logged.id}: its {'quality' if logged.prompt else 'prompt'} is not in the log"
        else:
            yield (
                number,
                {
                    "source": "turnout",
                    "prompt_id": logged.id,
                    "prompt": logged.prompt,
                    "task": "",
                    "model": logged.component,
                    "quality": logged.quality,
                    "cost_usd": logged.usage.cost_usd,
                    "input_tokens": logged.usage.input_tokens,
                    "output_tokens": logged.usage.output_tokens,
                    "latency_s": None if logged.total_ms is None else logged.total_ms / 1000,
                },
            )


def _sound(logged: Logged) -> Logged | str:
    chances = logged.propensities
    if any(not 0 <= p <= 1 for p in chances.values()) or (chances and abs(sum(chances.values()) - 1) > 1e-3):  # noqa: PLR2004 - rounding
        return f"decision {logged.id}: its propensities do not add up to 1"
    if chances and not chances.get(logged.component):
        return f"decision {logged.id}: {logged.component} was taken with probability 0"
    if logged.quality is not None and not 0 <= logged.quality <= 1:
        return f"decision {logged.id}: its quality is not within 0..1"
    return logged
