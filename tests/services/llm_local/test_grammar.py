from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.errors import InvalidRequest, TurnoutError, Unsupported
from services.llm_local.grammar import JSON_OBJECT, from_schema
from services.llm_local.native import Model
from services.llm_local.ranges import integers
from services.llm_local.sampler import Constraint


def accepts(model: Model, grammar: str, text: str) -> bool:
    """Whether the real engine lets this text through as a whole answer."""
    constraint = Constraint(model, grammar)
    try:
        if not constraint.try_accept(model.tokenize(text, special=False)):
            return False
        return bool(constraint.allowed(np.array([model.eos], np.int32))[0])
    finally:
        constraint.close()


PERSON = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "boolean"}},
    "required": ["b"],
}
LIST = {
    "$defs": {
        "n": {
            "type": "object",
            "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
            "required": ["v", "next"],
        }
    },
    "$ref": "#/$defs/n",
}
CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        PERSON,
        ['{"a": 1, "b": "x"}', '{"b":"x"}', '{"b":"","c":true}'],
        ['{"a": 1}', "{}", '{"b":"x","a":1}', '{"b":1}'],
    ),
    ({"type": "object", "properties": {"a": {}}}, ["{}", '{"a": [1, null]}'], ['{"a"}', '{"b": 1}']),
    ({"type": "object", "properties": {}}, ["{}"], ['{"a": 1}', "{ }"]),
    ({"type": "object", "properties": {}, "additionalProperties": True}, ["{}", '{"a": 1}'], []),
    ({"type": "object", "properties": {}, "required": ["a"]}, ['{"a": 1}'], ["{}"]),
    ({"type": "object", "properties": {}, "minProperties": 1}, ['{"a": 1}'], ["{}"]),
    ({"type": "object"}, ["{}", '{"a": 1}'], []),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", '{"x": 1, "y": 2}'], ['{"x": "1"}']),
    ({"type": "integer", "minimum": -15, "maximum": 120}, ["-15", "0", "9", "120"], ["-16", "121", "1.5", "007"]),
    ({"type": "integer", "exclusiveMinimum": 0}, ["1", "99"], ["0", "-1"]),
    ({"type": "number", "minimum": -2, "maximum": 3}, ["-2", "-1.5", "-0.5", "0", "2.9", "3"], ["-2.5", "3.1"]),
    ({"type": "string", "pattern": "^[A-Z]{2}-\\d+$"}, ['"AB-1"'], ['"A-1"', '"AB-"']),
    ({"type": "string", "pattern": 'a"b\\\\c'}, ['"a\\"b\\\\c"'], ['"ab"']),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"é\\n!"'], ['"a"', '"abcd"']),
    ({"type": "string", "format": "date"}, ['"2024-02-28"'], ['"2024-13-01"', '"24-1-1"']),
    ({"enum": ["red", "grün", 3, None]}, ['"red"', '"grün"', "3", "null"], ['"blue"', "4"]),
    ({"type": "string", "enum": ["x", 1]}, ['"x"'], ["1"]),
    ({"const": {"k": [1, 'q"uote']}}, ['{"k": [1, "q\\"uote"]}'], ["{}"]),
    (
        {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3},
        ["[1, 2]", "[1,2,3]"],
        ["[1]", "[]"],
    ),
    ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, ['[1, "a"]'], ['["a", 1]']),
    ({"type": ["string", "null"]}, ['"a"', "null"], ["1"]),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, ['"a"', "5"], ["null"]),
    (
        {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]},
        ['{"a": 1}'],
        ["{}"],
    ),
    (LIST, ['{"v": 1, "next": {"v": 2, "next": null}}'], ['{"v": 1, "next": 3}']),
]


@pytest.mark.parametrize(("schema", "good", "bad"), CASES, ids=lambda case: json.dumps(case)[:40])
def test_grammar_lets_through_what_the_schema_allows_and_nothing_else(
    model: Model, schema: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    grammar = from_schema(schema)
    for text in good:
        json.loads(text)
        assert accepts(model, grammar, text), text
    for text in bad:
        assert not accepts(model, grammar, text), text


@pytest.mark.parametrize(
    "text", ["{}", '{"a": 1}', '{\n  "a": [1, {"b": null}],\n  "c": -1.5e10\n}', '{"x": "\\u00e9"}']
)
def test_json_object_lets_json_objects_through(model: Model, text: str) -> None:
    assert accepts(model, JSON_OBJECT, text)


@pytest.mark.parametrize("text", ["[]", '{"a": 01}', '{"a": "line\nbreak"}', "{", '{"a": "\\ud800"}', '{"a": 1}}'])
def test_json_object_lets_nothing_else_through(model: Model, text: str) -> None:
    assert not accepts(model, JSON_OBJECT, text)


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {}},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "array", "uniqueItems": True},
        {"$ref": "https://example.com/schema"},
        {"type": "number", "multipleOf": 0.01},
        {"oneOf": [{"type": "object"}, {"type": "object"}]},
        {"patternProperties": {"^a": {}}},
    ],
)
def test_what_a_grammar_cannot_say_is_refused_and_not_ignored(schema: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        from_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "x"},
        {"type": []},
        {"enum": []},
        {"const": float("nan")},
        {"enum": ["\ud800"]},
        {"$ref": "#/nowhere"},
        {"type": "integer", "minimum": 5, "maximum": 2},
        {"type": "object", "properties": {"a": False}},
        {"type": "object", "properties": []},
        {"type": "array", "minItems": -1},
        {"type": "string", "minLength": 1e99},
    ],
)
def test_schema_that_makes_no_sense_is_the_clients_mistake(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        from_schema(schema)


def test_reference_to_itself_alone_is_refused(model: Model) -> None:
    with pytest.raises(InvalidRequest):
        Constraint(model, from_schema({"$ref": "#"}))


def _deep() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(5000):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        _deep(),
        {"enum": list(range(100_000))},
        {"type": "object", "properties": {str(n): {"type": "string", "maxLength": 1000} for n in range(900)}},
        {"type": "object", "properties": {"x" * 5000 + str(n): {} for n in range(100)}},
        {"type": "string", "pattern": "a" * 10_000},
        {"type": "array", "items": {"type": "array", "items": {"type": "string", "pattern": "(a{1000}){1000}"}}}
        | {"minItems": 100_000},
    ],
    ids=["deep", "enum", "repeats", "names", "pattern", "items"],
)
def test_hostile_schema_is_refused_within_a_moment(schema: dict[str, Any]) -> None:
    began_s = time.process_time()
    with pytest.raises(TurnoutError):
        from_schema(schema)
    assert time.process_time() - began_s < 1


@settings(max_examples=40, deadline=None)
@given(low=st.integers(-300, 300), span=st.integers(0, 400), probe=st.integers(-800, 800))
def test_integer_ranges_are_exact(model: Model, low: int, span: int, probe: int) -> None:
    grammar = f"root ::= {integers(low, low + span)}"
    assert accepts(model, grammar, str(probe)) == (low <= probe <= low + span)
