"""From tokens to text that may be sent: whole characters only, and nothing that could still become a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from services.contracts.events import TokenLogprob


class TextStream:
    """The text of one answer as it grows.

    `push` returns what is safe to send. Bytes of an unfinished character and any tail that may be the start of a stop
    string are held back until it is clear what they are. A stop string ends the answer and is never part of it.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(stop)
        self._longest = max((len(text) for text in stop), default=0)
        self._held = ""
        self._marks: list[tuple[int, TokenLogprob]] = []  # where, in characters of `_held`, each token's text begins
        self.stopped = False

    def push(self, piece: bytes, logprob: TokenLogprob | None = None) -> str:
        """Add the bytes of one token; returns the text that can go out now."""
        if self.stopped:
            return ""
        if logprob is not None:
            self._marks.append((len(self._held), logprob))
        fresh = self._decoder.decode(piece)
        if not self._stop:
            return fresh
        before = len(self._held)
        self._held += fresh
        cut = self._find(max(0, before - self._longest + 1))
        if cut is not None:
            self.stopped = True
            out, self._held = self._held[:cut], ""
            self._marks = [mark for mark in self._marks if mark[0] < cut]
            return out
        keep = self._possible_start()
        out, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        self._marks = [(at - len(out), mark) for at, mark in self._marks]
        return out

    def finish(self) -> str:
        """What was held back, now that nothing more comes."""
        if self.stopped:
            return ""
        out = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        self._marks = [(-1, mark) for _, mark in self._marks]
        return out

    def take_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Those of the tokens whose text has gone out, or that made none."""
        if not self._marks:
            return ()
        if not self._stop or self.stopped:
            out = tuple(mark for _, mark in self._marks)
            self._marks = []
            return out
        out = tuple(mark for at, mark in self._marks if at < 0)
        self._marks = [(at, mark) for at, mark in self._marks if at >= 0]
        return out

    def _find(self, start: int) -> int | None:
        found = [at for text in self._stop if (at := self._held.find(text, start)) >= 0]
        return min(found) if found else None

    def _possible_start(self) -> int:
        """Length of the longest tail that is the beginning of some stop string."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(text.startswith(tail) for text in self._stop):
                return length
        return 0
