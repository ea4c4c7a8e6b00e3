"""The keys that let callers in, as they stand in a file or an environment variable: one a line."""

from __future__ import annotations


def keys_in(text: str) -> list[str]:
    """The keys; empty lines and those that begin with `#` are none, nor is the mark some editors begin a file with."""
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return [line for line in lines if line and not line.startswith("#")]
