"""How long to wait before the next attempt. Pure."""

from __future__ import annotations

import email.utils
import math

LONGEST_WAIT_S = 10.0  # an upstream that wants more is left to the router: others may be free now
_BASE_S = 0.2
_CAP_S = 5.0
_LONGEST_HEADER = 64


def pause_s(attempt: int, retry_after_s: float | None, luck: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 0). `luck` is uniform in 0..1.

    Source: "full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    jitter_s = luck * min(_CAP_S, _BASE_S * 2.0 ** min(attempt, 16))
    return jitter_s if retry_after_s is None else retry_after_s + luck * _BASE_S


def parse_retry_after(value: str | None, now_s: float) -> float | None:
    """The `Retry-After` header in seconds, whether it gives seconds or a date; None for anything else.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    if not value or len(value) > _LONGEST_HEADER:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now_s
        except (ValueError, OverflowError):
            return None
    if not math.isfinite(seconds):
        return None
    return min(max(0.0, seconds), 86_400.0)
