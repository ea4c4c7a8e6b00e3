"""From a vendor's refusal to our error, and whether to ask again. Pure."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from services.contracts.errors import (
    ComponentUnavailable,
    ContextLengthExceeded,
    InvalidRequest,
    Overloaded,
    PayloadTooLarge,
    TurnoutError,
    Unsupported,
    UpstreamError,
)

MAX_MESSAGE_CHARS = 500

_AGAIN = frozenset({408, 409, 425, 429})
_KEY_REFUSED = frozenset({401, 402, 403})
_INVALID = frozenset({400, 422})
_INVALID_FROM = 400
_TOO_LARGE, _TOO_MANY, _SERVER, _REDIRECT, _VENDOR_OVERLOADED = 413, 429, 500, 300, 529
_CONTEXT = re.compile(
    r"context.?length|context window|context size|prompt is too long|too many (?:input )?tokens|"
    r"maximum (?:number of )?(?:input )?tokens|exceeds? the (?:model'?s )?(?:maximum )?context",
    re.IGNORECASE,
)
_BILLING = re.compile(r"credit balance|insufficient.?(?:quota|balance|credits)|billing", re.IGNORECASE)
_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value"})
_NOT_PRINTABLE = re.compile(r"[^\S ]+|[\x00-\x1f\x7f]+")
_STATUS_OF_TYPE = {"overloaded_error": 529, "rate_limit_error": 429, "invalid_request_error": 400}


class Refusal(NamedTuple):
    """What a refusal comes to.

    Attributes:
        again: the same request may succeed soon.
        sick: it speaks of the upstream's health and not of this request.
        after_s: when the upstream wishes to be asked again, if it said so.
    """

    error: TurnoutError
    again: bool
    sick: bool
    after_s: float | None = None


class Told(NamedTuple):
    """What a vendor said went wrong."""

    message: str = ""
    code: str = ""
    param: str | None = None


def refusal(status: int, told: Told, retry_after_s: float | None) -> Refusal:
    """The meaning of a response that is not 200. `told` must be free of secrets already."""
    because = f": {told.message}" if told.message else ""
    if status in _KEY_REFUSED or (status == _TOO_MANY and told.code == "insufficient_quota"):
        # The operator's account is at fault. The client learns that and no more.
        return Refusal(
            ComponentUnavailable(f"the upstream refuses this server's key ({status})"), again=False, sick=True
        )
    if status in _INVALID:
        return Refusal(_invalid(told, because), again=False, sick=False)
    if status == _TOO_LARGE:
        return Refusal(PayloadTooLarge(f"the upstream finds the request too large{because}"), again=False, sick=False)
    if status in (_TOO_MANY, _VENDOR_OVERLOADED):
        after_s = 1.0 if retry_after_s is None else retry_after_s
        error = Overloaded(f"the upstream is overloaded{because}", retry_after_s=after_s)
        return Refusal(error, again=True, sick=status == _VENDOR_OVERLOADED, after_s=retry_after_s)
    if _REDIRECT <= status < _INVALID_FROM:
        return Refusal(UpstreamError(f"the upstream redirects ({status}): check its base_url"), again=False, sick=True)
    failed = UpstreamError(f"the upstream answered {status}{because}", retry_after_s=retry_after_s)
    return Refusal(failed, status in _AGAIN or status >= _SERVER, sick=status >= _SERVER, after_s=retry_after_s)


def _invalid(told: Told, because: str) -> TurnoutError:
    if told.code == "context_length_exceeded" or _CONTEXT.search(told.message):
        return ContextLengthExceeded(f"the prompt is too long for the upstream{because}", param="messages")
    if _BILLING.search(told.message):
        return ComponentUnavailable("the upstream refuses this server's account (400)")
    if told.code in _UNSUPPORTED:
        return Unsupported(f"the upstream does not support this{because}", param=told.param)
    return InvalidRequest(f"the upstream finds the request invalid{because}", param=told.param)


def read_told(body: bytes) -> Told:
    """The error that a body speaks of, in any of the forms vendors use; empty for HTML and other noise."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Told()
    if not isinstance(value, dict):
        return Told()
    return _told(value.get("error", value))


def _told(error: Any) -> Told:
    if isinstance(error, str):
        return Told(tidy(error))
    if not isinstance(error, dict):
        return Told()
    message = next((m for key in ("message", "detail", "msg") if isinstance(m := error.get(key), str)), "")
    code = next((c for key in ("code", "type") if isinstance(c := error.get(key), str)), "")
    param = error.get("param")
    return Told(tidy(message), code[:64], param[:64] if isinstance(param, str) else None)


def tidy(message: str) -> str:
    """One bounded line."""
    message = _NOT_PRINTABLE.sub(" ", message[: 4 * MAX_MESSAGE_CHARS]).strip()
    return message if len(message) <= MAX_MESSAGE_CHARS else message[: MAX_MESSAGE_CHARS - 1] + "…"


def told_error(error: Any) -> TurnoutError:
    """An error that came inside an answer with status 200, as some vendors send theirs mid-stream."""
    told = _told(error)
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and _INVALID_FROM <= code < 600:  # noqa: PLR2004 - the range of HTTP errors
        status = code
    else:
        kind = error.get("type") if isinstance(error, dict) else None
        status = _STATUS_OF_TYPE.get(kind, _SERVER) if isinstance(kind, str) else _SERVER
    return refusal(status, told, None).error
