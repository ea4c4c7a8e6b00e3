from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.contracts.errors import ConfigError
from services.llm_local import gguf


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def small_file(
    *, tensors: int = 1, keys: int = 1, version: int = 3, kind: int = 0, shape: int = 8, offset: int = 0, data: int = 32
) -> bytes:
    """A whole GGUF file with one tensor, or with whatever lies are asked for."""
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("w") + struct.pack("<IQIQ", 1, shape, kind, offset)
    return head + b"\0" * (-len(head) % 32) + b"\0" * data


def test_real_model_is_accepted(smollm_path: Path) -> None:
    header = gguf.check(smollm_path)
    assert (header.version, header.architecture) == (3, "llama")


def test_honest_small_file_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(small_file())
    assert gguf.check(path).tensors == 1


def test_model_cut_in_its_data_says_how_much_is_missing(smollm_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    size = smollm_path.stat().st_size
    with smollm_path.open("rb") as whole, path.open("wb") as cut:
        cut.write(whole.read(4_000_000))
        cut.truncate(size - 1000)
    with pytest.raises(ConfigError, match="truncated: 1000 bytes are missing"):
        gguf.check(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"GGML" + b"\0" * 100, "does not begin"),
        (small_file(version=9), "version"),
        (small_file(tensors=2**63), "tensors"),
        (small_file(keys=2**40), "keys"),
        (small_file(kind=200), "unknown type"),
        (small_file(shape=2**60), "impossible"),
        (small_file(offset=7), "impossible"),
        (small_file(offset=2**62), "truncated"),
        (small_file(data=16), "truncated"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 2**62), "longer than any"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("k") + struct.pack("<IIQ", 9, 8, 2**61), "longer than any"),
    ],
)
def test_file_whose_claims_do_not_fit_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=reason):
        gguf.check(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 120), value=st.binary(min_size=1, max_size=8))
def test_damaged_header_is_accepted_or_refused_but_never_crashes(tmp_path: Path, at: int, value: bytes) -> None:
    data = bytearray(small_file())
    data[at : at + len(value)] = value
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(data))
    with contextlib.suppress(ConfigError):
        gguf.check(path)
