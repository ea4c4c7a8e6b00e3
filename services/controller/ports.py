"""Finds out before anything is started whether the gateway will be able to listen."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

from services.contracts.errors import ConfigError, TurnoutError

VARIABLE = "TURNOUT_PORT"
_HIGHEST = 65_535


class PortTaken(TurnoutError):
    """Somebody else listens there, or we may not."""

    code = "port_taken"


def choose(option: int | None, environment: Mapping[str, str], configured: int) -> int:
    """The port that was asked for: `--port`, else `TURNOUT_PORT`, else the configuration's.

    Raises:
        ConfigError: `TURNOUT_PORT` is no port.
    """
    if option is not None:
        return option
    text = environment.get(VARIABLE, "")
    if not text:
        return configured
    if not (text.isascii() and text.isdigit() and int(text) <= _HIGHEST):
        raise ConfigError(f"{VARIABLE} must be a number from 0 to {_HIGHEST}, not {text[:40]!r}")
    return int(text)


def claim(host: str, port: int) -> int:
    """The port, after a successful trial; 0 becomes one that is free.

    Raises:
        PortTaken: it cannot be had.
        ConfigError: the host is none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"gateway.host: {host!r} cannot be resolved: {error.strerror or error}") from error
    with socket.socket(family, kind, protocol) as trial:
        # As the gateway itself does: connections that linger from an earlier run are no obstacle.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
            trial.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise ConfigError(f"gateway.host: {host!r} is no address of this machine") from error
            raise PortTaken(_explain(host, port, error)) from error
        return int(trial.getsockname()[1])


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return (
            f"port {port} needs more rights than you have; choose one above 1023: TURNOUT_PORT={port + 8000} turnout up"
        )
    reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({os.strerror(error.errno or 0)})"
    return f"port {port} on {host} {reason}; choose another: TURNOUT_PORT={min(port + 1, _HIGHEST)} turnout up"
