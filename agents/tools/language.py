"""From a plain English question to a tool call, when the whole question is one. Pure."""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

from agents.tools import calendar_questions, sums


class Understood(NamedTuple):
    """A tool and its arguments. `unit` belongs behind the result."""

    tool: str
    arguments: dict[str, Any]
    unit: str = ""


def understand(question: str, today: date) -> Understood | None:
    """The call that answers `question`, or None: it asks for something else, for more, or leaves room for doubt.

    Word problems are not for this: they have to be understood, and a model does that.
    """
    if (call := calendar_questions.parse(question, today)) is not None:
        return Understood(*call)
    if (found := sums.parse(question)) is not None:
        return Understood("calculate", {"expression": found.expression}, found.unit)
    return None
