"""A JSON schema as a grammar (GBNF) that llama.cpp can hold an answer to. Pure, and bounded in size.

Whatever the grammar lets through is valid by the schema. A keyword that a grammar cannot say is refused, never ignored.
Properties come in the order of the schema.
Source: https://json-schema.org/draft/2020-12; GBNF as in llama.cpp's grammars/README.md.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from services.contracts.errors import InvalidRequest, TurnoutError, Unsupported
from services.llm_local.kinds import disjoint, is_of
from services.llm_local.pattern import ANY_CHAR, literal, to_grammar
from services.llm_local.ranges import integers

MAX_DEPTH = 32
MAX_NODES = 2000
MAX_CHARS = 128 * 1024
MAX_ENUM = 500
MAX_ITEMS = 200
MAX_LENGTH = 1000
MAX_REPEATS = 20_000  # llama.cpp writes every counted repetition out; so many take about 50 ms

# One blank or one line with its indentation: a small model left free would write blanks for ever.
_PRIMITIVES = {
    "ws": r'| " " | "\n" [ \t]{0,20}',
    "char": ANY_CHAR,
    "string": r'"\"" char* "\""',
    "number": r'"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?',
    "integer": r'"-"? ("0" | [1-9] [0-9]{0,15})',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "object | array | string | number | boolean | null",
    "pair": 'string ":" ws value',
    "object": '"{" ws (pair ("," ws pair)* ws)? "}"',
    "array": '"[" ws (value ("," ws value)* ws)? "]"',
}
_FORMATS = {
    "date": '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])',
    "time": '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"',
    "uuid": '[0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12}',
}
_FORMATS["date-time"] = f'{_FORMATS["date"]} "T" {_FORMATS["time"]}'

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_NOTES = frozenset(
    (
        "title",
        "description",
        "default",
        "examples",
        "$comment",
        "$schema",
        "$id",
        "$defs",
        "definitions",
        "deprecated",
        "readOnly",
        "writeOnly",
        "name",
    )
)
_UNSAYABLE = (
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
)

_COUNTED = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")

JSON_OBJECT = "\n".join(f"{name} ::= {body}" for name, body in {"root": "object", **_PRIMITIVES}.items())


def from_schema(schema: dict[str, Any]) -> str:
    """The grammar of a whole answer, its rule `root`.

    Raises:
        InvalidRequest: not a schema, or one that nothing satisfies, or too large.
        Unsupported: a keyword that a grammar cannot say.
    """
    return Schemas().whole(schema)


class Schemas:
    """Collects the rules of one or several schemas."""

    def __init__(self, param: str = "response_format") -> None:
        self._param = param
        self._rules: dict[str, str] = dict(_PRIMITIVES)
        self._refs: dict[tuple[int, str], str] = {}
        self._document: Any = None
        self._nodes = 0
        self._chars = sum(len(body) for body in _PRIMITIVES.values())
        self._repeats = 0

    def whole(self, schema: Any) -> str:
        """The grammar of one schema."""
        return self.finish(self.add(schema))

    def finish(self, root: str) -> str:
        """All rules as text, with `root` as the start."""
        return "\n".join(f"{name} ::= {body}" for name, body in {"root": root, **self._rules}.items())

    def add(self, schema: Any) -> str:
        """Adds a schema (with references of its own); returns the expression that stands for it."""
        self._document = schema
        try:
            return self._visit(schema, 0)
        except (ValueError, OverflowError, RecursionError, UnicodeError) as error:
            raise self._wrong(str(error)) from error

    def rule(self, body: str) -> str:
        """Adds a rule; returns its name.

        Raises:
            InvalidRequest: the grammar grows too large.
        """
        name = f"r{len(self._rules)}"
        self._set(name, body)
        return name

    def _set(self, name: str, body: str) -> None:
        body.encode()  # a lone surrogate would fail later, inside llama.cpp's binding
        self._chars += len(body)
        self._repeats += sum(int(high or low) for low, high in _COUNTED.findall(body))
        if self._chars > MAX_CHARS or self._repeats > MAX_REPEATS:
            raise self._wrong("it is too large")
        self._rules[name] = body

    def _wrong(self, what: str) -> InvalidRequest:
        return InvalidRequest(f"the JSON schema cannot be used: {what}", param=self._param)

    def _cannot(self, what: str) -> TurnoutError:
        return Unsupported(f"the local engine cannot enforce {what} in a JSON schema", param=self._param)

    def _visit(self, schema: Any, depth: int) -> str:
        self._count(depth)
        if schema is True:
            return "value"
        if not isinstance(schema, dict):
            raise self._wrong("a schema must be an object" if schema is not False else "`false` allows nothing")
        for keyword in _UNSAYABLE:
            if keyword in schema:
                raise self._cannot(f"`{keyword}`")
        for combiner in ("$ref", "anyOf", "oneOf", "allOf"):
            if combiner in schema:
                return self._combine(combiner, schema, depth)
        if "const" in schema:
            return self._constants([schema["const"]], schema)
        if "enum" in schema:
            return self._constants(schema["enum"], schema)
        return self._typed(schema, depth)

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._wrong(f"it has more than {MAX_NODES} parts")
        if depth > MAX_DEPTH:
            raise self._wrong(f"it is nested deeper than {MAX_DEPTH}")

    def _typed(self, schema: dict[str, Any], depth: int) -> str:
        kinds = schema.get("type", self._guess(schema))
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not isinstance(kinds, list) or not kinds or any(kind not in _TYPES for kind in kinds):
            raise self._wrong(f"`type` must be among {', '.join(_TYPES)}")
        makers = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._integer,
        }
        parts = [makers[kind](schema, depth) if kind in makers else kind for kind in dict.fromkeys(kinds)]
        return parts[0] if len(parts) == 1 else self.rule(" | ".join(parts))

    @staticmethod
    def _guess(schema: dict[str, Any]) -> list[str]:
        """Without a type, what the keywords speak of; any value if they speak of nothing."""
        if schema.keys() & {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}:
            return ["object"]
        if schema.keys() & {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}:
            return ["array"]
        if schema.keys() & {"pattern", "minLength", "maxLength", "format"}:
            return ["string"]
        if schema.keys() & {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}:
            return ["number"]
        return ["object", "array", "string", "number", "boolean", "null"]

    def _combine(self, combiner: str, schema: dict[str, Any], depth: int) -> str:
        siblings = {key: value for key, value in schema.items() if key != combiner and key not in _NOTES}
        what = schema[combiner]
        if combiner == "$ref":
            if siblings:
                raise self._cannot("`$ref` with other keywords beside it")
            return self._reference(what, depth)
        if not isinstance(what, list) or not what:
            raise self._wrong(f"`{combiner}` must be a list")
        if combiner == "allOf":
            return self._visit(self._merged([*what, siblings]), depth + 1)
        if set(siblings) - {"type"}:
            raise self._cannot(f"`{combiner}` with other keywords beside it")
        alternatives = [{**siblings, **one} if isinstance(one, dict) and "$ref" not in one else one for one in what]
        if combiner == "oneOf" and not disjoint(alternatives):
            raise self._cannot("`oneOf` whose alternatives overlap (use `anyOf`)")
        return self.rule(" | ".join(self._visit(one, depth + 1) for one in alternatives))

    def _merged(self, parts: list[Any]) -> dict[str, Any]:
        """`allOf` of object schemas as one, where no two say different things of the same matter."""
        result: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, dict):
                raise self._cannot("`allOf` of anything but objects")
            for key, value in part.items():
                if key in _NOTES:
                    continue
                if key == "properties" and isinstance(value, dict):
                    known = result.setdefault("properties", {})
                    if any(known[name] != value[name] for name in known.keys() & value.keys()):
                        raise self._cannot("`allOf` that gives a property twice")
                    result["properties"] = {**known, **value}
                elif key == "required" and isinstance(value, list):
                    result["required"] = [*result.get("required", []), *value]
                elif result.setdefault(key, value) != value:
                    raise self._cannot(f"`allOf` that gives `{key}` twice")
        return result

    def _reference(self, ref: Any, depth: int) -> str:
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise self._cannot("a `$ref` outside the schema")
        key = (id(self._document), ref)
        if key in self._refs:
            return self._refs[key]
        target = self._document
        for part in ref.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and name.isascii() and name.isdigit() and int(name) < len(target):
                target = target[int(name)]
            elif isinstance(target, dict) and name in target:
                target = target[name]
            else:
                raise self._wrong(f"`$ref` {ref[:200]!r} leads nowhere")
        name = self._refs[key] = self.rule("")
        self._set(name, self._visit(target, depth + 1))
        return name

    def _constants(self, values: Any, schema: dict[str, Any]) -> str:
        if not isinstance(values, list) or not values:
            raise self._wrong("`enum` must be a list of values")
        kinds = schema.get("type")
        if kinds is not None:
            kinds = [kinds] if isinstance(kinds, str) else kinds
            values = [value for value in values if any(is_of(value, kind) for kind in kinds)]
        self._nodes += len(values)
        if not values or len(values) > MAX_ENUM:
            raise self._wrong(f"`enum` and `const` need 1 to {MAX_ENUM} values of the type given")
        texts = dict.fromkeys(json.dumps(value, ensure_ascii=False, allow_nan=False) for value in values)
        return self.rule(" | ".join(literal(text) for text in texts))

    def _object(self, schema: dict[str, Any], depth: int) -> str:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise self._wrong("`properties` must be an object and `required` a list")
        if any(not isinstance(name, str) for name in required):
            raise self._wrong("`required` must be a list of names")
        extra = schema.get("additionalProperties", True)
        properties = {**properties, **{name: extra for name in required if name not in properties}}
        low, high = self._bounds(schema, "minProperties", "maxProperties")
        if not properties:
            # Beside declared properties no others are written, allowed as they are: of none declared, none.
            none_meant = "properties" in schema and "additionalProperties" not in schema and not low
            return self._map(False if none_meant else extra, low, high, depth)
        must = set(required)
        if low > len(must) or (high is not None and high < len(properties)):
            raise self._cannot("`minProperties` and `maxProperties` beside `properties`")
        pairs = [(self._pair(name, value, depth), name in must) for name, value in properties.items()]
        # Two chains from the last property to the first: what follows when something stands already, and when nothing
        # does. They need no more rules than there are properties.
        after, none_yet = "", ""
        for pair, needed in reversed(pairs):
            then = self.rule(f'("," ws {pair}){"" if needed else "?"} {after}')
            skip = f" | {none_yet}" if none_yet and not needed else ""
            after, none_yet = then, self.rule(f"{pair} {after}{skip}")
        return self.rule(f'"{{" ws ({none_yet} ws){"" if must else "?"} "}}"')

    def _pair(self, name: str, schema: Any, depth: int) -> str:
        key = literal(json.dumps(name, ensure_ascii=False))
        return self.rule(f'{key} ":" ws {self._visit(schema, depth + 1)}')

    def _map(self, extra: Any, low: int, high: int | None, depth: int) -> str:
        """An object whose names are free."""
        if extra is False:
            if low:
                raise self._wrong("an object that may hold nothing has `minProperties`")
            return self.rule('"{}"')  # without `ws`, which a small model would fill before it closes
        if low > 1 or high is not None:
            raise self._cannot("`minProperties` above 1 and `maxProperties` for free names")
        pair = self.rule(f'string ":" ws {self._visit(extra, depth + 1)}')
        return self.rule(f'"{{" ws ({pair} ("," ws {pair})* ws){"" if low else "?"} "}}"')

    def _array(self, schema: dict[str, Any], depth: int) -> str:
        if schema.get("uniqueItems"):
            raise self._cannot("`uniqueItems`")
        low, high = self._bounds(schema, "minItems", "maxItems")
        if low > MAX_ITEMS:
            raise self._cannot(f"`minItems` above {MAX_ITEMS}")
        first = schema.get("prefixItems", [])
        if not isinstance(first, list):
            raise self._wrong("`prefixItems` must be a list")
        rest = schema.get("items", True)
        if first:
            if low > len(first) or (high is not None and high < len(first)):
                raise self._cannot("`minItems` and `maxItems` beside `prefixItems`")
            return self.rule('"[" ws ' + ' "," ws '.join(self._visit(one, depth + 1) for one in first) + ' ws "]"')
        if high == 0 or rest is False:
            if low:
                raise self._wrong("an array that may hold nothing has `minItems`")
            return self.rule('"[" ws "]"')
        item = self._visit(rest, depth + 1)
        more = f'("," ws {item}){_times(max(0, low - 1), None if high is None else min(high, MAX_ITEMS) - 1)}'
        return self.rule(f'"[" ws ({item} {more} ws){"" if low else "?"} "]"')

    def _string(self, schema: dict[str, Any], _depth: int) -> str:
        low, high = self._bounds(schema, "minLength", "maxLength")
        pattern, form = schema.get("pattern"), schema.get("format")
        if pattern is not None:
            if not isinstance(pattern, str):
                raise self._wrong("`pattern` must be a string")
            if low or high is not None:
                raise self._cannot("`pattern` together with `minLength` or `maxLength`")
            try:
                body = to_grammar(pattern)
            except ValueError as error:
                raise self._cannot(f"this `pattern` ({error})") from error
            return self.rule(rf'"\"" {body} "\""')
        if isinstance(form, str) and form in _FORMATS and not low and high is None:
            return self.rule(rf'"\"" {_FORMATS[form]} "\""')
        if not low and high is None:
            return "string"
        if low > MAX_LENGTH:
            raise self._cannot(f"`minLength` above {MAX_LENGTH}")
        return self.rule(rf'"\"" char{_times(low, None if high is None else min(high, MAX_LENGTH))} "\""')

    def _integer(self, schema: dict[str, Any], _depth: int) -> str:
        if schema.get("multipleOf", 1) != 1:
            raise self._cannot("`multipleOf`")
        low, high = self._limit(schema, 1), self._limit(schema, -1)
        if low is None and high is None:
            return "integer"
        return self.rule(integers(None if low is None else math.ceil(low), None if high is None else math.floor(high)))

    def _number(self, schema: dict[str, Any], _depth: int) -> str:
        """Between whole bounds; what lies strictly between them may have a fraction."""
        if "multipleOf" in schema:
            raise self._cannot("`multipleOf`")
        low, high = self._limit(schema, 1, whole=False), self._limit(schema, -1, whole=False)
        if low is None and high is None:
            return "number"
        if (low is not None and low != math.floor(low)) or (high is not None and high != math.floor(high)):
            raise self._cannot("bounds of a `number` that are not whole")
        bottom, top = (None if low is None else int(low)), (None if high is None else int(high))
        parts = [f"({integers(bottom, top)})"]
        fraction = ' "." [0-9]{1,15}'
        if top is None or top > 0:
            least = max(0, bottom or 0)
            if top is None or top - 1 >= least:
                parts.append(f"({integers(least, None if top is None else top - 1)}){fraction}")
        if bottom is None or bottom < 0:
            least = max(0, -(top or 0)) if top is not None else 0
            if bottom is None or -bottom - 1 >= least:
                parts.append(f'"-" ({integers(least, None if bottom is None else -bottom - 1)}){fraction}')
        return self.rule(" | ".join(parts))

    def _limit(self, schema: dict[str, Any], side: int, *, whole: bool = True) -> float | None:
        """The lower (side 1) or upper (side -1) bound, an exclusive one moved to the next integer."""
        plain, strict = ("minimum", "exclusiveMinimum") if side > 0 else ("maximum", "exclusiveMaximum")
        found: list[float] = []
        for key in (plain, strict):
            value = schema.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise self._wrong(f"`{key}` must be a number")
            if key == strict:
                if not whole:
                    raise self._cannot(f"`{key}` of a `number`")
                value = math.floor(value) + 1 if side > 0 else math.ceil(value) - 1
            found.append(value)
        return None if not found else max(found) if side > 0 else min(found)

    def _bounds(self, schema: dict[str, Any], low_key: str, high_key: str) -> tuple[int, int | None]:
        low, high = schema.get(low_key, 0), schema.get(high_key)
        for key, value in ((low_key, low), (high_key, high)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise self._wrong(f"`{key}` must be a whole number from 0")
        if high is not None and low > high:
            raise self._wrong(f"`{low_key}` is above `{high_key}`")
        return low, high


def _times(low: int, high: int | None) -> str:
    if high is None:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    return f"{{{low},{high}}}"
