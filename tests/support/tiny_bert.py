"""A BERT of a few kilobytes as a GGUF file, and the same BERT in numpy to check llama.cpp's answers against.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and https://arxiv.org/abs/1810.04805
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

WIDTH, HEADS, LAYERS, INNER, CONTEXT = 32, 2, 2, 64, 64
EPSILON = 1e-12
WORDS = ("the", "fox", "river", "bird", "pump", "engine", "is", "red", "cold", "loud")
CLS, SEP = 101, 102
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_ALIGNMENT = 32
_MEAN_POOLING = 1


def vocabulary() -> list[str]:
    """As BERT numbers its control tokens: [PAD] 0, [UNK] 100, [CLS] 101, [SEP] 102, [MASK] 103. Words from 104 on."""
    unused = [f"[unused{number}]" for number in range(1, 100)]
    return ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"\u2581{word}" for word in WORDS)]


def weights(seed: int = 3) -> dict[str, Floats]:
    """Random numbers in the shapes of the model, rows first."""
    dice = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(vocabulary()), WIDTH),
        "token_types.weight": (2, WIDTH),
        "position_embd.weight": (CONTEXT, WIDTH),
        "token_embd_norm.weight": (WIDTH,),
        "token_embd_norm.bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{layer}.{name}.weight"] = (WIDTH, WIDTH)
            shapes[f"blk.{layer}.{name}.bias"] = (WIDTH,)
        for name in ("attn_output_norm", "layer_output_norm"):
            shapes[f"blk.{layer}.{name}.weight"] = shapes[f"blk.{layer}.{name}.bias"] = (WIDTH,)
        shapes[f"blk.{layer}.ffn_up.weight"], shapes[f"blk.{layer}.ffn_up.bias"] = (INNER, WIDTH), (INNER,)
        shapes[f"blk.{layer}.ffn_down.weight"], shapes[f"blk.{layer}.ffn_down.bias"] = (WIDTH, INNER), (WIDTH,)
    return {name: dice.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def write(path: Path, tensors: Mapping[str, Floats]) -> None:
    """The model as a file."""
    facts: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, "bert"),
        "general.name": (_STRING, "tiny"),
        "bert.block_count": (_U32, LAYERS),
        "bert.context_length": (_U32, CONTEXT),
        "bert.embedding_length": (_U32, WIDTH),
        "bert.feed_forward_length": (_U32, INNER),
        "bert.attention.head_count": (_U32, HEADS),
        "bert.attention.layer_norm_epsilon": (_F32, EPSILON),
        "bert.attention.causal": (_BOOL, False),
        "bert.pooling_type": (_U32, _MEAN_POOLING),
        "tokenizer.ggml.model": (_STRING, "bert"),
        "tokenizer.ggml.token_type_count": (_U32, 2),
        "tokenizer.ggml.tokens": (_STRING, vocabulary()),
        "tokenizer.ggml.token_type": (_I32, [3 if token.startswith("[") else 1 for token in vocabulary()]),
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts))
    for name, (kind, value) in facts.items():
        head += _text(name) + _value(kind, value)
    data = b""
    for name, tensor in tensors.items():
        head += _text(name) + struct.pack("<I", tensor.ndim)
        head += struct.pack(f"<{tensor.ndim}Q", *reversed(tensor.shape)) + struct.pack("<IQ", 0, len(data))
        data += _padded(tensor.tobytes())
    path.write_bytes(_padded(head) + data)


def embed(tensors: Mapping[str, Floats], tokens: Sequence[int]) -> Floats:
    """The normalised mean of the last layer's vectors, [WIDTH]."""
    x = tensors["token_embd.weight"][list(tokens)] + tensors["token_types.weight"][0]
    x = _norm(x + tensors["position_embd.weight"][: len(tokens)], tensors, "token_embd_norm")
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        query, key, value = (_linear(x, tensors, f"{name}attn_{part}") for part in "qkv")
        heads = []
        for at in range(0, WIDTH, WIDTH // HEADS):
            part = slice(at, at + WIDTH // HEADS)
            scores = query[:, part] @ key[:, part].T / np.sqrt(WIDTH // HEADS)
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, part])
        x = _norm(
            x + _linear(np.concatenate(heads, axis=1), tensors, f"{name}attn_output"),
            tensors,
            f"{name}attn_output_norm",
        )
        inner = _linear(x, tensors, f"{name}ffn_up")
        gelu = inner * np.vectorize(lambda number: 0.5 * (1 + erf(number / 2**0.5)))(inner)
        x = _norm(x + _linear(gelu, tensors, f"{name}ffn_down"), tensors, f"{name}layer_output_norm")
    mean = x.mean(axis=0)
    result: Floats = (mean / np.linalg.norm(mean)).astype(np.float32)
    return result


def _linear(x: Floats, tensors: Mapping[str, Floats], name: str) -> Floats:
    result: Floats = x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]
    return result


def _norm(x: Floats, tensors: Mapping[str, Floats], name: str) -> Floats:
    spread = np.sqrt(x.var(axis=1, keepdims=True) + EPSILON)
    result: Floats = (x - x.mean(axis=1, keepdims=True)) / spread * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]
    return result


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind: int, value: Any) -> bytes:
    if isinstance(value, list):
        return struct.pack("<IIQ", _ARRAY, kind, len(value)) + b"".join(_scalar(kind, one) for one in value)
    return struct.pack("<I", kind) + _scalar(kind, value)


def _scalar(kind: int, value: Any) -> bytes:
    if kind == _STRING:
        return _text(value)
    return struct.pack({_U32: "<I", _I32: "<i", _F32: "<f", _BOOL: "<?"}[kind], value)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)
