"""What a request looks like to the predictor. Pure: from the request alone, in bounded time.

The text is that of the last user turn, which says what is wanted, with a bounded part of what gives it its meaning: the
system prompt and, where the last turn is short ("and in French?"), the turns before it.
"""

from __future__ import annotations

import msgspec

from services.contracts.messages import ChatRequest

# A long prompt says what it wants at its beginning or at its end.
HEAD_CHARS = 1200
TAIL_CHARS = 600
SYSTEM_CHARS = 400
HISTORY_CHARS = 300
_SHORT_TURN_CHARS = 80


class Features(msgspec.Struct, frozen=True):
    """The predictor's whole view of a request.

    Attributes:
        text: bounded; see the module.
        turns: user turns so far, this one included.
        prompt_chars: characters of all messages together; system_chars: of the system turns.
        wants_json: the answer must be JSON.
    """

    text: str
    turns: int
    prompt_chars: int
    has_images: bool
    has_tools: bool
    wants_json: bool
    system_chars: int


def features_of(request: ChatRequest) -> Features:
    """The features of a conversation to continue."""
    turns = prompt_chars = system_chars = 0
    system = ""
    has_images = False
    asked = len(request.messages)
    for index, message in enumerate(request.messages):
        text = message.text
        prompt_chars += len(text)
        has_images = has_images or bool(message.images)
        if message.role == "system":
            system_chars += len(text)
            system = system or text[:SYSTEM_CHARS]
        elif message.role == "user":
            turns += 1
            asked = index
    question = request.messages[asked].text if asked < len(request.messages) else ""
    parts = [system.strip(), bounded(question)]
    if turns > 1 and len(question) < _SHORT_TURN_CHARS:
        parts.insert(1, _before(request, asked))
    return Features(
        text="\n\n".join(part for part in parts if part),
        turns=turns,
        prompt_chars=prompt_chars,
        has_images=has_images,
        has_tools=bool(request.tools) and request.tool_choice != "none",
        wants_json=request.response_format.type != "text",
        system_chars=system_chars,
    )


def bounded(text: str) -> str:
    """Head and tail of a long text; a short one as it is."""
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text.strip()
    return f"{text[:HEAD_CHARS].strip()}\n{text[-TAIL_CHARS:].strip()}"


def _before(request: ChatRequest, asked: int) -> str:
    """The end of the user turn before this one: what a short follow-up refers to."""
    for message in reversed(request.messages[:asked]):
        if message.role == "user":
            return message.text[-HISTORY_CHARS:].strip()
    return ""
