"""Which instance has read a conversation before: there its beginning need not be computed again.

A conversation is known by a hash of its turns up to the last answer, which is what the request before this one was.
Collisions and conversations that have been forgotten cost a worse choice and nothing else.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from services.contracts.beat import Beat
from services.contracts.messages import ChatRequest, Task

KEPT = 4096
KEPT_S = 600.0
"""By then the cells of a local model hold something else, and so do the caches of vendors."""
_CHARS_PER_TOKEN = 4.0


@dataclass(frozen=True)
class Held:
    """Who has read the beginning of a conversation, and how much that is, tokens."""

    component: str
    instance: str
    tokens: int


def conversation_of(task: Task) -> str:
    """A name that every router gives a conversation, on its first turn and on all that follow: it begins alike.

    Work that is no conversation has a name for each request.
    """
    request = task.request
    if not isinstance(request, ChatRequest):
        return task.root
    digest = hashlib.blake2b(task.tenant.encode(), digest_size=8)
    for message in request.messages:
        text = message.text.encode("utf-8", "replace")
        digest.update(b"%s %d " % (message.role.encode(), len(text)) + text)
        if message.role == "user":
            break
    return digest.hexdigest()


class Sessions:
    """What one router remembers of the conversations it has routed."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._last: OrderedDict[int, tuple[str, str, float]] = OrderedDict()

    def held(self, task: Task) -> Held | None:
        """Who has read the turns before the last answer of this conversation, if it has one and that is known."""
        request = task.request
        if not isinstance(request, ChatRequest):
            return None
        messages = request.messages
        answered = next((i for i in range(len(messages) - 1, 0, -1) if messages[i].role == "assistant"), 0)
        if not answered:
            return None
        found = self._last.get(hash((task.tenant, messages[:answered])))
        if found is None or self._clock_s() - found[2] > KEPT_S:
            return None
        chars = sum(len(message.text) for message in messages[: answered + 1])
        return Held(found[0], found[1], int(chars / _CHARS_PER_TOKEN))

    def remember(self, task: Task, to: Beat) -> None:
        """Note who reads this conversation now."""
        if not isinstance(task.request, ChatRequest):
            return
        key = hash((task.tenant, task.request.messages))
        self._last.pop(key, None)
        self._last[key] = (to.component, to.instance, self._clock_s())
        if len(self._last) > KEPT:
            self._last.popitem(last=False)
