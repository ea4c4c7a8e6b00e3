"""Makes a small LoRA adapter for a llama-like model, as a GGUF file, from nothing.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from evals.prove.models import ModelFile, describe

_ALIGNMENT = 32
_FLOAT32, _STRING, _F32 = 6, 8, 0  # value type, value type, tensor type
SMOL_WIDTH = 576
SMOL_LAYERS = 30


def adapter(path: Path, *, width: int = SMOL_WIDTH, rank: int = 4, strength: float = 0.5, seed: int = 0) -> ModelFile:
    """An adapter that bends the attention's output of every layer at random."""
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]] = {}
    for layer in range(SMOL_LAYERS):
        name = f"blk.{layer}.attn_output.weight"
        tensors[f"{name}.lora_a"] = random.normal(0, strength, (rank, width)).astype(np.float32)
        tensors[f"{name}.lora_b"] = random.normal(0, strength, (width, rank)).astype(np.float32)
    keys = [
        _text("general.architecture", "llama"),
        _text("general.type", "adapter"),
        _text("adapter.type", "lora"),
        _string("adapter.lora.alpha") + struct.pack("<If", _FLOAT32, float(rank)),
    ]
    described, data = b"", b""
    for name, values in tensors.items():
        # Dimensions are written fastest first, the reverse of numpy's.
        described += _string(name) + struct.pack("<IQQIQ", 2, *values.shape[::-1], _F32, len(data))
        data += _padded(values.tobytes())
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + described
    path.write_bytes(_padded(head) + data)
    return describe(path)


def _text(key: str, value: str) -> bytes:
    return _string(key) + struct.pack("<I", _STRING) + _string(value)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)
