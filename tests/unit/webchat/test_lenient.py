"""Lenient reading of single values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.webchat import lenient

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (9001, 9001),
        (5150.0, 5150),
        ("9001", 9001),
        (" 9001 ", 9001),
        ("5150.0", 5150),
        ("-11", -11),
        ("+1", 1),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, None),
        ("9223372036854775808", None),
        (1e300, None),
        (5150.5, None),
        (math.inf, None),
        (math.nan, None),
        ("٣", None),
        ("12a", None),
        ("", None),
        (True, None),
        (None, None),
        ([1], None),
        ({}, None),
    ],
)
def test_integer(value: object, expected: int | None) -> None:
    assert lenient.integer(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(True, 1), (False, 0), (1, 1), ("1", 1), (-15, -15), ("yes", None)]
)
def test_result_code(value: object, expected: int | None) -> None:
    assert lenient.result_code(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("121.5", 121.5),
        (31, 31.0),
        (31.2, 31.2),
        ("north", None),
        ("nan", None),
        (math.inf, None),
        (10**400, None),
        (True, None),
        (None, None),
    ],
)
def test_number(value: object, expected: float | None) -> None:
    assert lenient.number(value) == expected


@pytest.mark.parametrize("value", [True, 1, 1.0, "true", "TRUE", " 1 "])
def test_flag_true(value: object) -> None:
    assert lenient.flag(value)


@pytest.mark.parametrize("value", [False, 0, 2, "false", "", None, [True], {"a": 1}])
def test_flag_false(value: object) -> None:
    assert not lenient.flag(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", "x"),
        (None, ""),
        (5, "5"),
        (True, "true"),
        ({"a": [1, "小"]}, '{"a":[1,"小"]}'),
        ("half \ud83d pair", "half \ufffd pair"),
        ("\ud83d\ude00", "😀"),
        ("nul\0", "nul\ufffd"),
    ],
)
def test_string(value: object, expected: str) -> None:
    assert lenient.string(value) == expected


def test_compact_is_bounded_in_length_and_depth() -> None:
    assert len(lenient.compact("x" * 10_000)) == 2000
    deep: list[object] = []
    for _ in range(200_000):
        deep = [deep]
    assert lenient.compact(deep) == "…"


def test_objects_and_arrays_may_come_as_text() -> None:
    assert lenient.mapping('{"a":1}') == {"a": 1}
    assert lenient.mapping(" {broken") is None
    assert lenient.mapping("[1]") is None
    assert lenient.sequence("[1,2]") == [1, 2]
    assert lenient.sequence("zip,jpg") == []
    assert lenient.unwrap("plain") == "plain"


def test_first_skips_what_is_empty() -> None:
    assert lenient.first({"a": None, "b": "", "c": 0}, "x", "a", "b", "c") == 0
    assert lenient.first({}, "a") is None


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, "undefined", "{} x"])
def test_decode_refuses(text: str) -> None:
    with pytest.raises(lenient.NotJson):
        lenient.decode(text)


def test_decode_forgives() -> None:
    assert lenient.decode('\ufeff{"a":NaN,"b":"line\nline","b2":-Infinity,"a2":1}') == {
        "a": None,
        "b": "line\nline",
        "b2": None,
        "a2": 1,
    }


@given(ANY_JSON)
def test_nothing_raises(value: object) -> None:
    lenient.integer(value)
    lenient.result_code(value)
    lenient.number(value)
    lenient.flag(value)
    lenient.mapping(value)
    lenient.sequence(value)
    lenient.string(value).encode()
    lenient.compact(value).encode()
