from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.errors import InvalidRequest
from services.gateway.strict_json import MAX_VALUES, check_structure, read_object

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_TEXT, _VALUES, max_size=5), st.booleans())
def test_what_json_writes_is_read_back_the_same(value: dict[str, Any], ascii_only: bool) -> None:
    assert read_object(json.dumps(value, ensure_ascii=ascii_only).encode(), 64) == value


_PIECES = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"a"',
        '"b"',
        '"',
        "\\",
        "\\ud800",
        "\\udc00",
        "\\u0041",
        '"\\ud83d\\ude00"',
        "1",
        "-0",
        "0",
        "01",
        "1.",
        "1e5",
        "1e999",
        "NaN",
        "-Infinity",
        "null",
        "true",
        " ",
        "\n",
        "\t",
        "\x00",
        "é",
        "'",
    ]
)


@settings(max_examples=600, deadline=None)
@given(st.lists(_PIECES, max_size=14).map("".join), st.booleans())
def test_any_text_is_read_as_the_strict_reference_reads_it_or_refused(text: str, wrapped: bool) -> None:
    body = ('{"k":' + text + "}" if wrapped else text).encode()
    expected = _reference(body)
    if expected is None:
        with pytest.raises(InvalidRequest):
            read_object(body, 8)
    else:
        assert read_object(body, 8) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        assert isinstance(read_object(body, 8), dict)
    except InvalidRequest as error:
        error.to_info().message.encode()  # itself free of surrogates


def _reference(body: bytes) -> dict[str, Any] | None:
    """A slow, plain statement of the same rules: the object, or None."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in found}) == len(found)
        return dict(found)

    def check(value: Any, depth: int) -> None:
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, float):
            assert math.isfinite(value)
        elif isinstance(value, int):
            assert -(2**63) <= value < 2**64
        elif isinstance(value, list | dict):
            assert depth < 8
            for inner in [*value, *value.values()] if isinstance(value, dict) else value:
                check(inner, depth + 1)

    try:
        value = json.loads(body.decode(), object_pairs_hook=pairs)
        assert isinstance(value, dict)
        check(value, 0)
    except (ValueError, AssertionError, UnicodeError):
        return None
    return value


def test_depth_is_counted_exactly() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    assert read_object(nested(8), 8)
    with pytest.raises(InvalidRequest, match="nested deeper than 8"):
        read_object(nested(9), 8)


def test_brackets_inside_strings_do_not_count() -> None:
    assert read_object(json.dumps({"a": "[{" * 500, "b": '\\"[' * 50}).encode(), 4)


def test_a_flood_of_tiny_values_is_refused_before_it_is_built() -> None:
    with pytest.raises(InvalidRequest, match="values"):
        read_object(b'{"a":[' + b"[]," * (MAX_VALUES + 1) + b"1]}", 64)
    assert read_object(json.dumps({"a": "," * (MAX_VALUES * 3)}).encode(), 64)


def test_the_structure_check_is_linear_in_hostile_strings() -> None:
    for body in (b'{"a":"' + b'\\"' * 300_000, b"[" * 65 + b'"' * 300_001, b"{" * 65 + b"\\" * 300_000):
        try:
            check_structure(body, 64)
        except InvalidRequest:
            continue


def test_a_pair_of_surrogate_escapes_is_a_character() -> None:
    assert read_object(b'{"a":"\\ud83d\\ude00"}', 8) == {"a": "😀"}
    assert read_object(b'{"a":"\\\\ud83d"}', 8) == {"a": "\\ud83d"}
