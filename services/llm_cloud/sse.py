"""Server-sent events, parsed from bytes as they arrive.

Source: the event stream format of https://html.spec.whatwg.org/multipage/server-sent-events.html, less `id`, `retry`
and lone carriage returns, which no vendor sends.
"""

from __future__ import annotations

from typing import NamedTuple

from services.contracts.errors import UpstreamError

MAX_EVENT_BYTES = 1024 * 1024


class SseEvent(NamedTuple):
    """One event. `name` is empty for the default type."""

    name: str
    data: bytes


class SseParser:
    """Bytes in, whole events out. Holds at most `max_event_bytes` of an unfinished event."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._unread = bytearray()
        self._searched = 0
        self._name = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    @property
    def mid_event(self) -> bool:
        """Whether something unfinished is held."""
        return bool(self._unread or self._data)

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes.

        Raises:
            UpstreamError: a line or an event larger than the limit.
        """
        unread = self._unread
        unread += data
        found: list[SseEvent] = []
        start = 0
        # Searching goes on where it stopped, so that a line dripping in byte by byte costs linear time.
        while (end := unread.find(b"\n", max(start, self._searched))) >= 0:
            line = bytes(unread[start:end]).removesuffix(b"\r")
            start = end + 1
            if not line:
                if self._data:
                    found.append(
                        SseEvent(self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                    )
                self._name, self._data, self._data_bytes = "", [], 0
            else:
                self._take(line)
        del unread[:start]
        self._searched = len(unread)
        if len(unread) + self._data_bytes > self._max_event_bytes:
            raise UpstreamError(f"the upstream sent an event larger than {self._max_event_bytes} bytes")
        return found

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._data_bytes += len(value)
            if self._data_bytes > self._max_event_bytes:
                raise UpstreamError(f"the upstream sent an event larger than {self._max_event_bytes} bytes")
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
