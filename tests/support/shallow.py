"""A GGUF with all but its first blocks cut away: its vocabulary and template, hundreds of times its speed, no sense.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_BLOCK = re.compile(rb"blk\.(\d+)\.")
_ALIGNMENT = 32


def write_shallow(source: Path, target: Path, blocks: int) -> None:
    """Copy a model and leave out every block from number `blocks` on. `source` must have the usual alignment."""
    with source.open("rb") as file:
        magic, version, tensors, keys = struct.unpack("<4sIQQ", file.read(24))
        assert magic == b"GGUF"
        facts = b""
        for _ in range(keys):
            name, kind = _text(file), _number(file, "<I")
            value = _value(file, kind)
            if name.endswith(b".block_count"):
                value = struct.pack("<I", blocks)
            facts += struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value
        places: list[tuple[bytes, bytes, int]] = []
        for _ in range(tensors):
            name = _text(file)
            dimensions = _number(file, "<I")
            shape = struct.pack("<I", dimensions) + file.read(8 * dimensions) + file.read(4)
            places.append((name, shape, _number(file, "<Q")))
        start = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
        ends = sorted([offset for *_, offset in places] + [source.stat().st_size - start])
        infos, data = b"", b""
        kept = [place for place in places if not (found := _BLOCK.match(place[0])) or int(found[1]) < blocks]
        for name, shape, offset in kept:
            file.seek(start + offset)
            tensor = file.read(ends[ends.index(offset) + 1] - offset)
            infos += struct.pack("<Q", len(name)) + name + shape + struct.pack("<Q", len(data))
            data += tensor + b"\0" * (-len(tensor) % _ALIGNMENT)
    head = struct.pack("<4sIQQ", magic, version, len(kept), keys) + facts + infos
    target.write_bytes(head + b"\0" * (-len(head) % _ALIGNMENT) + data)


def _text(file: BinaryIO) -> bytes:
    return file.read(_number(file, "<Q"))


def _number(file: BinaryIO, form: str) -> int:
    found: int = struct.unpack(form, file.read(struct.calcsize(form)))[0]
    return found


def _value(file: BinaryIO, kind: int) -> bytes:
    """A value as its bytes."""
    if kind in _SIZES:
        return file.read(_SIZES[kind])
    begin = file.tell()
    if kind == _STRING:
        file.seek(_number(file, "<Q"), 1)
    else:
        assert kind == _ARRAY
        inner, count = _number(file, "<I"), _number(file, "<Q")
        for _ in range(count):
            _value(file, inner)
    end = file.tell()
    file.seek(begin)
    return file.read(end - begin)
