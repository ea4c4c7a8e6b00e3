"""Reads a pickled pandas DataFrame without pandas and without running what the file says.

A pickle is a program: to load one is to call whatever it names. This reader answers every name from a fixed list.
numpy's own constructors are the real ones, pandas' classes are stand-ins that only remember what they were given, and
any other name ends the reading.

Source: "Restricting Globals" in https://docs.python.org/3/library/pickle.html; the layout is that of pandas'
BlockManager (https://github.com/pandas-dev/pandas, pandas/core/internals/managers.py).
"""

from __future__ import annotations

import codecs
import importlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

from services.contracts.errors import ConfigError

_NUMPY = {"_reconstruct", "scalar", "_frombuffer", "ndarray", "dtype"}
_PANDAS_CALLS = {"_new_Index", "_unpickle_block", "new_block", "_unpickle_array"}
_PANDAS_CLASSES = {
    "DataFrame",
    "BlockManager",
    "Index",
    "RangeIndex",
    "Int64Index",
    "Float64Index",
    "ObjectBlock",
    "FloatBlock",
    "IntBlock",
    "BoolBlock",
    "NumericBlock",
    "NumpyBlock",
}


class _Shell:
    """A stand-in for a pandas class: it holds what the pickle gave it."""

    args: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *args: Any) -> Self:  # a pickle makes objects without `__init__`
        made = super().__new__(cls)
        made.args = args
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Index(_Shell):
    """A pandas Index."""


class _Frame(_Shell):
    """A DataFrame."""


class _Manager(_Shell):
    """A BlockManager."""


class _Block(_Shell):
    """A block of columns of one type."""


def _new_index(_: type, values: dict[str, Any]) -> _Index:
    return _Index(values)


def _new_block(values: Any, placement: Any, *_: Any) -> _Block:
    return _Block(values, placement)


def _same(values: Any, *_: Any) -> Any:
    return values


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        root = module.partition(".")[0]
        if root == "numpy" and name in _NUMPY:
            return getattr(importlib.import_module(_numpy_home(name)), name)
        if root == "pandas" and name in _PANDAS_CALLS:
            calls: dict[str, Callable[..., Any]] = {
                "_new_Index": _new_index,
                "_unpickle_block": _new_block,
                "new_block": _new_block,
                "_unpickle_array": _same,
            }
            return calls[name]
        if root == "pandas" and name in _PANDAS_CLASSES:
            shells: dict[str, type[_Shell]] = {"DataFrame": _Frame, "BlockManager": _Manager}
            return shells.get(name, _Block if name.endswith("Block") else _Index)
        if (module, name) in {("builtins", "slice"), ("__builtin__", "slice")}:
            return slice
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        raise pickle.UnpicklingError(f"it names {module}.{name}, which a table of outcomes has no need of")


def _numpy_home(name: str) -> str:
    return {"_frombuffer": "numpy._core.numeric", "ndarray": "numpy", "dtype": "numpy"}.get(
        name, "numpy._core.multiarray"
    )


def read_frame(path: Path) -> dict[str, list[Any]]:
    """The columns of a pickled DataFrame, in their order.

    Raises:
        ConfigError: the file is no such pickle, or names anything but what a DataFrame is made of.
    """
    try:
        with path.open("rb") as file:
            frame = _Reader(file).load()
        return _columns(frame)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    # A pickle that is not a DataFrame fails in as many ways as there are opcodes; all of them mean the same.
    except (
        pickle.UnpicklingError,
        AttributeError,
        EOFError,
        ImportError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise ConfigError(f"{path}: not a pickled table: {error}") from error


def _columns(frame: Any) -> dict[str, list[Any]]:
    if not isinstance(frame, _Frame):
        raise TypeError(f"it holds a {type(frame).__name__.lstrip('_')}, not a DataFrame")
    blocks, axes = frame.state["_mgr"].args[:2]
    names = _index_values(axes[0])
    columns: dict[int, list[Any]] = {}
    for block in blocks:
        values, placement = block.args
        for at, row in zip(_placement(placement), np.atleast_2d(values), strict=True):
            columns[at] = row.tolist()
    return {str(name): columns[i] for i, name in enumerate(names)}


def _index_values(index: _Index) -> list[Any]:
    given = index.args[-1]
    if "data" in given:
        return list(given["data"])
    return list(range(given["start"], given["stop"], given["step"]))


def _placement(where: Any) -> list[int]:
    return (
        list(range(where.start, where.stop, where.step or 1)) if isinstance(where, slice) else [int(i) for i in where]
    )
