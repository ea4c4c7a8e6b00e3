"""One error tree for the whole system, and its one form on the wire.

    TurnoutError
    |- InvalidRequest 400
    |  |- ContextLengthExceeded   more tokens than the component can hold
    |  `- Unsupported             a parameter this component cannot honour
    |- NotAuthorized 401
    |- BudgetExceeded 402
    |- NotFound 404
    |- Conflict 409
    |- PayloadTooLarge 413
    |- Overloaded 429             always says when to retry
    |- Cancelled 499              the client left; never rendered to anyone
    |- InternalError 500
    |- UpstreamError 502
    |- ComponentUnavailable 503
    |  |- Leaving                 it serves no longer, by order; nothing is wrong with it
    |  `- Unreached               nobody has heard it
    |- NoCapableComponent 503
    |- ComponentTimeout 504
    `- ConfigError                a file that cannot be used; carries file and line

`retryable` says whether another instance or component may succeed with the very same task.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as it travels on the bus: no traceback, no secrets, enough to rebuild the exception."""

    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None


class TurnoutError(Exception):
    """Base of every error a user may see. `str(error)` is safe to show to a client."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "api_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def to_info(self) -> ErrorInfo:
        """The wire form of this error."""
        return ErrorInfo(self.code, self.message, self.param, self.retry_after_s)


class InvalidRequest(TurnoutError):
    """The request itself is wrong; sending it elsewhere would not help."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The prompt has more tokens than the component's context. Another component may be larger."""

    code = "context_length_exceeded"
    retryable = True


class Unsupported(InvalidRequest):
    """The component cannot do what was asked. Another one may."""

    code = "unsupported"
    retryable = True


class NotAuthorized(TurnoutError):
    """No key, or a wrong one."""

    status = 401
    code = "invalid_api_key"
    type = "authentication_error"


class BudgetExceeded(TurnoutError):
    """Nothing can be done within `max_cost_usd`."""

    status = 402
    code = "budget_exceeded"
    type = "invalid_request_error"


class NotFound(TurnoutError):
    """No such model, path or record."""

    status = 404
    code = "not_found"
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    """No component of that name."""

    code = "model_not_found"


class Conflict(TurnoutError):
    """Somebody else has changed it meanwhile, or a later order has taken this one's place."""

    status = 409
    code = "conflict"
    type = "invalid_request_error"


class PayloadTooLarge(TurnoutError):
    """The body, an image or a document is over a limit; the message names the limit."""

    status = 413
    code = "payload_too_large"
    type = "invalid_request_error"


class Overloaded(TurnoutError):
    """Refused at once rather than answered too late. Carries `retry_after_s`."""

    status = 429
    code = "overloaded"
    type = "rate_limit_error"
    retryable = True


class Cancelled(TurnoutError):
    """The caller is gone."""

    status = 499
    code = "cancelled"


class InternalError(TurnoutError):
    """A defect of ours. The log has the traceback, the client has the request id."""

    retryable = True


class UpstreamError(TurnoutError):
    """A vendor answered with an error or something that is not its protocol."""

    status = 502
    code = "upstream_error"
    retryable = True


class ComponentUnavailable(TurnoutError):
    """The instance is gone, draining or not configured."""

    status = 503
    code = "component_unavailable"
    retryable = True


class Leaving(ComponentUnavailable):
    """The instance is to end, and has not begun with this task: the next one does it."""

    code = "instance_leaving"


class Unreached(ComponentUnavailable):
    """Nobody listens there: the instance is gone, or between two connections to the bus. It has heard nothing."""

    code = "instance_unreached"


class NoCapableComponent(TurnoutError):
    """No running component can do this within the constraints given."""

    status = 503
    code = "no_capable_component"


class ComponentTimeout(TurnoutError):
    """The deadline passed."""

    status = 504
    code = "deadline_exceeded"
    type = "timeout_error"


class ConfigError(TurnoutError):
    """A configuration that cannot be used. `message` starts with `file:line:`."""

    status = 400
    code = "config_error"
    type = "invalid_request_error"


def _tree(root: type[TurnoutError]) -> dict[str, type[TurnoutError]]:
    found: dict[str, type[TurnoutError]] = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


# InternalError inherits the root's code on purpose, so the root must not win the lookup.
_BY_CODE: dict[str, type[TurnoutError]] = {**_tree(TurnoutError), InternalError.code: InternalError}


def from_info(info: ErrorInfo) -> TurnoutError:
    """Rebuild the exception a peer sent; an unknown code becomes an `InternalError`."""
    kind = _BY_CODE.get(info.code, InternalError)
    return kind(info.message, param=info.param, retry_after_s=info.retry_after_s)
