"""What kinds of JSON values a schema speaks of, and whether two schemas can ever mean the same value. Pure."""

from __future__ import annotations

import json
from typing import Any


def is_of(value: Any, kind: Any) -> bool:
    """Whether a value is of a JSON schema type."""
    if kind == "boolean" or isinstance(value, bool):
        return kind == "boolean" and isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types: dict[Any, Any] = {"object": dict, "array": list, "string": str, "number": (int, float), "null": type(None)}
    return kind in types and isinstance(value, types[kind])


def disjoint(alternatives: list[Any]) -> bool:
    """Whether no value can satisfy two of the alternatives, as far as is plain to see."""
    return all(_apart(left, right) for at, left in enumerate(alternatives) for right in alternatives[at + 1 :])


def _apart(left: Any, right: Any) -> bool:
    if not isinstance(left, dict) or not isinstance(right, dict):
        return False
    if (one := _values(left)) is not None and (other := _values(right)) is not None:
        return not one & other
    if (a := _kinds(left)) and (b := _kinds(right)) and not a & b:
        return not {"number", "integer"} <= a | b
    mine, theirs = left.get("properties"), right.get("properties")
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return False
    shared = set(left.get("required", [])) & set(right.get("required", [])) & mine.keys() & theirs.keys()
    return any(
        (one := _values(mine[name])) is not None and (other := _values(theirs[name])) is not None and not one & other
        for name in shared
    )


def _kinds(schema: dict[str, Any]) -> set[str]:
    kinds = schema.get("type", [])
    return {kinds} if isinstance(kinds, str) else {kind for kind in kinds if isinstance(kind, str)}


def _values(schema: Any) -> set[str] | None:
    if not isinstance(schema, dict):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return {json.dumps(value, sort_keys=True) for value in values} if isinstance(values, list) else None
