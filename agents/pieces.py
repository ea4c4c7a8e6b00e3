"""Puts the pieces of a streamed chat answer together."""

from __future__ import annotations

from services.contracts.errors import InternalError
from services.contracts.events import Delta, Started, ToolCallDelta
from services.contracts.messages import ToolCall


class Pieces:
    """The answer so far."""

    def __init__(self) -> None:
        self._started: Started | None = None
        self._texts: list[str] = []
        self._calls: dict[int, list[ToolCallDelta]] = {}

    def add(self, event: Started | Delta) -> None:
        """Take the next piece."""
        if isinstance(event, Started):
            self._started = event
            return
        self._texts.append(event.text or event.refusal)
        for call in event.tool_calls:
            self._calls.setdefault(call.index, []).append(call)

    @property
    def started(self) -> Started:
        """Who answers.

        Raises:
            InternalError: the answer has not begun.
        """
        if self._started is None:
            raise InternalError("an answer came without its beginning")
        return self._started

    @property
    def text(self) -> str:
        """The text; a refusal counts as text, since it is what the component has to say."""
        return "".join(self._texts)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls in the order of their indices."""
        return tuple(
            ToolCall(
                id=next((piece.id for piece in pieces if piece.id), f"call_{index}"),
                name=next((piece.name for piece in pieces if piece.name), ""),
                arguments="".join(piece.arguments for piece in pieces),
            )
            for index, pieces in sorted(self._calls.items())
        )

    @property
    def summary(self) -> str:
        """The answer in one text, for a trace."""
        calls = [f"{call.name}({call.arguments})" for call in self.tool_calls]
        return "\n".join(([self.text] if self.text else []) + calls)
