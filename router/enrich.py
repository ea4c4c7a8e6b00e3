"""Makes a task answerable by a smaller component: an image becomes its text, found passages become context. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.contracts.events import Passage, ScreenRead
from services.contracts.messages import ChatRequest, ImagePart, Message, TextPart

_GROUNDED = (
    "Answer the question from the numbered passages below, and cite the ones you use as [1], [2]. "
    "If they do not hold the answer, say so.\n\n{passages}\n\nQuestion: {question}"
)


def with_screen_text(request: ChatRequest, screens: Sequence[ScreenRead]) -> ChatRequest:
    """The request with each image replaced by its lines, in order. `screens` holds one reading per image."""
    remaining = iter(screens)
    number = 0

    def replaced(message: Message) -> Message:
        nonlocal number
        if isinstance(message.content, str):
            return message
        parts: list[str] = []
        for part in message.content:
            if isinstance(part, TextPart):
                parts.append(part.text)
            elif isinstance(part, ImagePart):
                number += 1
                parts.append(screen_text(number, next(remaining)))
        return msgspec.structs.replace(message, content="\n\n".join(parts))

    return msgspec.structs.replace(request, messages=tuple(replaced(message) for message in request.messages))


def screen_text(number: int, screen: ScreenRead) -> str:
    """One image as text for a model that cannot see."""
    lines = "\n".join(line.text for line in screen.lines) or "(no text found)"
    return f"Text read from image {number} ({screen.width_px}x{screen.height_px} pixels):\n{lines}"


def with_passages(request: ChatRequest, passages: Sequence[Passage]) -> ChatRequest:
    """The request with the passages before its last question, numbered for citation."""
    numbered = "\n\n".join(
        f"[{number}] ({passage.source}) {passage.text}" for number, passage in enumerate(passages, start=1)
    )
    messages = list(request.messages)
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            content = _GROUNDED.format(passages=numbered, question=messages[index].text)
            messages[index] = msgspec.structs.replace(messages[index], content=content)
            break
    return msgspec.structs.replace(request, messages=tuple(messages))
