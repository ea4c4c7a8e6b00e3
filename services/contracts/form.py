"""Whether an answer is in the form that was asked for: JSON, and of the schema as far as we understand it. Pure.

A keyword that is not known here is taken to be kept. Work is bounded whatever the schema says.

Source: https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from services.contracts.messages import ResponseFormat

_MAX_CHECKS = 20_000
_MAX_DEPTH = 64
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def misfit(text: str, form: ResponseFormat) -> str | None:
    """Why an answer is not in the form, or None if it is as far as can be told."""
    if form.type == "text":
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return "not JSON"
    if form.type == "json_object" and not isinstance(value, dict):
        return "not an object"
    return _Checker(form.schema).misfit(value, form.schema, 0) if form.schema is not None else None


class _Checker:
    """One check, with a bound on its work."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = _MAX_CHECKS

    def misfit(self, value: Any, schema: Any, depth: int) -> str | None:
        """Why the value is not of the schema, or None."""
        self._left -= 1
        if schema is False:
            return "nothing is allowed there"
        if not isinstance(schema, dict) or self._left < 0 or depth > _MAX_DEPTH:
            return None
        if "$ref" in schema:
            return self.misfit(value, self._resolve(schema["$ref"]), depth + 1)
        return self._scalar(value, schema) or self._combined(value, schema, depth) or self._inner(value, schema, depth)

    def _resolve(self, reference: Any) -> Any:
        found = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        for part in reference[1:].split("/")[1:]:
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def _combined(self, value: Any, schema: dict[str, Any], depth: int) -> str | None:
        for part in _list(schema.get("allOf")):
            if (why := self.misfit(value, part, depth + 1)) is not None:
                return why
        for keyword in ("anyOf", "oneOf"):
            parts = _list(schema.get(keyword))
            if parts and all(self.misfit(value, part, depth + 1) is not None for part in parts):
                return f"none of {keyword}"
        return None

    def _inner(self, value: Any, schema: dict[str, Any], depth: int) -> str | None:
        if isinstance(value, dict):
            return self._object(value, schema, depth)
        items = schema.get("items")
        if isinstance(value, list) and items is not None:
            for item in value:
                if (why := self.misfit(item, items, depth + 1)) is not None:
                    return why
        return None

    def _object(self, value: dict[str, Any], schema: dict[str, Any], depth: int) -> str | None:
        missing = [name for name in _list(schema.get("required")) if isinstance(name, str) and name not in value]
        if missing:
            return f"{missing[0][:40]!r} is missing"
        known = schema.get("properties")
        known = known if isinstance(known, dict) else {}
        others = True if "patternProperties" in schema else schema.get("additionalProperties", True)
        for name, item in value.items():
            if (why := self.misfit(item, known.get(name, others), depth + 1)) is not None:
                return why
        return None

    def _scalar(self, value: Any, schema: dict[str, Any]) -> str | None:
        kinds = schema.get("type")
        kinds = [kinds] if isinstance(kinds, str) else _list(kinds)
        if kinds and not any(_is(value, kind) for kind in kinds):
            return f"not of type {', '.join(map(str, kinds))[:40]}"
        if "const" in schema and not _same(value, schema["const"]):
            return "not the constant"
        if isinstance(schema.get("enum"), list) and not any(_same(value, one) for one in schema["enum"]):
            return "not one of the enum"
        size = len(value) if isinstance(value, str | list | dict) else value
        for kind, low, high in (
            (str, "minLength", "maxLength"),
            (list, "minItems", "maxItems"),
            (dict, "minProperties", "maxProperties"),
            ((int, float), "minimum", "maximum"),
        ):
            if isinstance(value, kind) and not isinstance(value, bool) and not _within(size, schema, low, high):
                return f"beyond {low} or {high}"
        return None


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return not isinstance(kind, str) or kind not in _TYPES or isinstance(value, _TYPES[kind])


def _same(one: object, other: object) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _within(size: float, schema: dict[str, Any], low: str, high: str) -> bool:
    return _number(schema.get(low), -math.inf) <= size <= _number(schema.get(high), math.inf)


def _number(value: Any, otherwise: float) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
