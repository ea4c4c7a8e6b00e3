"""What a model is told before it may use the tools. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from services.contracts.messages import Message

_RULES = """You answer with the help of tools. Today is {today}.
Never calculate yourself: use `calculate` for every calculation, however small, and the date tools for dates.
Give numbers exactly as the tools give them. If a tool fails, correct the call or say what is missing.
When you have the results, answer the question in one or two sentences."""

CLOSING = Message("user", "Call no more tools. Answer my question now, in one sentence, with these results.")


def opening(messages: Sequence[Message], today: date) -> tuple[Message, ...]:
    """The conversation with our rules before it, joined with a system message that is there already."""
    rules = _RULES.format(today=f"{today:%A, %Y-%m-%d}")
    if messages and messages[0].role == "system":
        return (Message("system", f"{rules}\n\n{messages[0].text}"), *messages[1:])
    return (Message("system", rules), *messages)
