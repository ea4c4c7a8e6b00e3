"""Which processes live and say nothing: frozen, or cut off from the bus for good. Others have long gone round them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

TOO_LONG_S = 15.0


class Silence:
    """Remembers who has spoken and since when they have not. One that has not spoken yet is given its time to start."""

    def __init__(self) -> None:
        self._spoken: dict[tuple[str, int], float] = {}

    def look(self, lives: Mapping[str, int], heard: Collection[str], now_s: float) -> list[str]:
        """The instances to be ended, by name; each once in so long a silence.

        Args:
            lives: which life of it each instance is in, by name. heard: the instances that speak.
            now_s: of a clock that stands while nobody could be heard.
        """
        living = set(lives.items())
        self._spoken = {who: at_s for who, at_s in self._spoken.items() if who in living}
        for who in living:
            if who[0] in heard:
                self._spoken[who] = now_s
        silent = [who for who, at_s in self._spoken.items() if now_s - at_s > TOO_LONG_S]
        self._spoken |= dict.fromkeys(silent, now_s)  # not all can be ended at once: named again after as long
        return [name for name, _ in silent]
