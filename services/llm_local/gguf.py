"""Reads the header of a GGUF file with suspicion: llama.cpp should see only files whose claims fit their size.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.contracts.errors import ConfigError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_TENSORS = 100_000
_MAX_KEYS = 10_000
_MAX_KEY_BYTES = 65_535
_MAX_STRING_BYTES = 64 * 1024 * 1024
_MAX_ARRAY = 16 * 1024 * 1024
_MAX_DIMENSIONS = 4
_MAX_HEADER_BYTES = 512 * 1024 * 1024
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

# ggml_type: (elements in a block, bytes of a block)
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a file says of itself, found to be possible."""

    version: int
    tensors: int
    architecture: str


def check(path: Path) -> Header:
    """The header of a GGUF file.

    Raises:
        ConfigError: not GGUF, truncated, or its numbers do not fit together; says which.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, path.stat().st_size).header()
    except _Bad as bad:
        raise ConfigError(f"{path}: not a usable GGUF file: {bad}. Fetch it again, or change `source`.") from bad
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


class _Bad(Exception):
    """Why a file is no good."""


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._at = 0

    def header(self) -> Header:
        if self._bytes(4) != _MAGIC:
            raise _Bad("it does not begin with `GGUF`")
        version = self._number("<I")
        if version not in _VERSIONS:
            raise _Bad(f"its version is {version}, and 2 and 3 are known")
        tensors, keys = self._number("<Q"), self._number("<Q")
        if not 0 < tensors <= _MAX_TENSORS or keys > _MAX_KEYS:
            raise _Bad(f"it claims {tensors} tensors and {keys} keys")
        alignment, architecture = 32, ""
        for _ in range(keys):
            key = self._string(_MAX_KEY_BYTES)
            kind = self._number("<I")
            if key == b"general.alignment" and kind == 4:  # noqa: PLR2004 - UINT32
                alignment = self._number("<I")
            elif key == b"general.architecture" and kind == _STRING:
                architecture = self._string(_MAX_KEY_BYTES).decode("utf-8", "replace")
            else:
                self._skip_value(kind, depth=0)
        if alignment < 8 or alignment > 65_536 or alignment & (alignment - 1):  # noqa: PLR2004
            raise _Bad(f"its alignment is {alignment}")
        ends = [self._tensor(alignment) for _ in range(tensors)]
        start = -(-self._at // alignment) * alignment
        missing = start + max(ends) - self._size
        if missing > 0:
            raise _Bad(f"it is truncated: {missing} bytes are missing at its end")
        return Header(version, tensors, architecture)

    def _tensor(self, alignment: int) -> int:
        """Where the data of the next tensor ends, in bytes from the start of all data."""
        name = self._string(_MAX_KEY_BYTES).decode("utf-8", "replace")[:64]
        count = self._number("<I")
        if not 0 < count <= _MAX_DIMENSIONS:
            raise _Bad(f"tensor {name!r} has {count} dimensions")
        shape = [self._number("<Q") for _ in range(count)]
        kind, offset = self._number("<I"), self._number("<Q")
        if kind not in _BLOCKS:
            raise _Bad(f"tensor {name!r} is of an unknown type {kind}")
        elements, size = _BLOCKS[kind]
        if any(not 0 < length < 2**40 for length in shape) or shape[0] % elements or offset % alignment:
            raise _Bad(f"tensor {name!r} has an impossible shape or place")
        return offset + math.prod(shape) // elements * size

    def _skip_value(self, kind: int, depth: int) -> None:
        if kind in _SIZES:
            self._skip(_SIZES[kind])
        elif kind == _STRING:
            self._skip(self._length(_MAX_STRING_BYTES))
        elif kind == _ARRAY and depth < 2:  # noqa: PLR2004 - arrays of arrays of arrays are nobody's
            inner, count = self._number("<I"), self._length(_MAX_ARRAY)
            if inner in _SIZES:
                self._skip(_SIZES[inner] * count)
                return
            for _ in range(count):
                self._skip_value(inner, depth + 1)
        else:
            raise _Bad(f"a value is of an unknown type {kind}")

    def _string(self, limit: int) -> bytes:
        return self._bytes(self._length(limit))

    def _length(self, limit: int) -> int:
        found = self._number("<Q")
        if found > limit:
            raise _Bad(f"a text or list of {found} parts is longer than any model needs")
        return found

    def _number(self, form: str) -> int:
        found: int = struct.unpack(form, self._bytes(struct.calcsize(form)))[0]
        return found

    def _bytes(self, count: int) -> bytes:
        data = self._file.read(count) if self._at + count <= self._size else b""
        if len(data) < count:
            raise _Bad("it is truncated: it ends inside its header")
        self._at += count
        return data

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > min(self._size, _MAX_HEADER_BYTES):
            raise _Bad("it is truncated: it ends inside its header")
        self._file.seek(count, 1)
