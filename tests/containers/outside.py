"""A server beyond this machine, as containers see it: in a network of its own, reached only by being routed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HERE, _THERE = "198.51.100.1", "198.51.100.2"  # of a block that is kept for examples: RFC 5737
_PORT = 8000
_SERVER = f"""
import socket
with socket.create_server(("{_THERE}", {_PORT})) as server:
    print("ready", flush=True)
    while True:
        server.accept()[0].close()
"""


@contextmanager
def outside() -> Iterator[tuple[str, int]]:
    """(address, port) that takes connections from whoever is let out."""
    place, link = f"turnout-{os.getpid()}", f"out{os.getpid()}"
    _ip("netns", "add", place)
    try:
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", place)
        _ip("address", "add", f"{_HERE}/30", "dev", link)
        _ip("link", "set", link, "up")
        _ip("-n", place, "address", "add", f"{_THERE}/30", "dev", "eth0")
        _ip("-n", place, "link", "set", "eth0", "up")
        _ip("-n", place, "route", "add", "default", "via", _HERE)
        command = ["ip", "netns", "exec", place, sys.executable, "-I", "-c", _SERVER]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == "ready\n"
                yield _THERE, _PORT
            finally:
                server.terminate()
    finally:
        _ip("netns", "delete", place)  # and with it the link


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
