"""Whether an answer is in the form asked for: what can be told, and nothing said of what cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.form import misfit
from services.contracts.messages import ResponseFormat

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 2},
        "kind": {"enum": ["a", 1, None]},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"tag": {"anyOf": [{"type": "string"}, {"const": 7}]}},
}


@pytest.mark.parametrize(
    "good",
    [
        {"name": "x"},
        {"name": "x", "age": 3},
        {"name": "x", "age": 3.0},
        {"name": "x", "tags": ["t", 7]},
        {"name": "x", "kind": None},
    ],
)
def test_what_fits_fits(good: dict[str, Any]) -> None:
    assert misfit(json.dumps(good), ResponseFormat("json_schema", PERSON)) is None


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({}, "'name' is missing"),
        ({"name": ""}, "beyond minLength"),
        ({"name": 1}, "not of type string"),
        ({"name": "x", "age": 1.5}, "not of type integer"),
        ({"name": "x", "age": True}, "not of type integer"),
        ({"name": "x", "age": -1}, "beyond minimum"),
        ({"name": "x", "more": 1}, "nothing is allowed"),
        ({"name": "x", "tags": [8]}, "none of anyOf"),
        ({"name": "x", "tags": ["a", "b", "c"]}, "beyond minItems or maxItems"),
        ({"name": "x", "kind": True}, "not one of the enum"),
        ([], "not of type object"),
    ],
)
def test_what_does_not_fit_is_told(bad: Any, why: str) -> None:
    assert why in (misfit(json.dumps(bad), ResponseFormat("json_schema", PERSON)) or "")


def test_json_mode_wants_an_object() -> None:
    form = ResponseFormat("json_object")
    assert misfit('{"a": 1}', form) is None
    assert misfit("[1]", form) == "not an object"
    assert misfit('{"a": 1', form) == "not JSON"
    assert misfit("Sure! {}", form) == "not JSON"
    assert misfit("[" * 100_000, form) == "not JSON"


def test_plain_text_always_fits() -> None:
    assert misfit("anything", ResponseFormat()) is None


def test_a_schema_that_goes_in_circles_ends() -> None:
    circle = {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}}
    assert misfit("1", ResponseFormat("json_schema", circle)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=12,
)


@given(
    value=JSON, schema=st.dictionaries(st.sampled_from([*PERSON, "items", "anyOf", "$ref", "enum", "minimum"]), JSON)
)
def test_no_schema_however_odd_makes_it_fail(value: Any, schema: dict[str, Any]) -> None:
    misfit(json.dumps(value), ResponseFormat("json_schema", schema))
