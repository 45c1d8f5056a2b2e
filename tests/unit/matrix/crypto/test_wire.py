from __future__ import annotations

import pytest
import vodozemac
from hypothesis import given
from hypothesis import strategies as st

from bridge.matrix.crypto.wire import (
    Json,
    canonical,
    from_base64,
    id_text,
    is_signed,
    key_text,
    mapping,
    text,
    to_base64,
    with_signature,
)


@given(st.binary(max_size=100), st.booleans())
def test_base64_of_either_alphabet_is_read(data: bytes, url: bool) -> None:
    written = to_base64(data, url=url)
    assert "=" not in written
    assert from_base64(written) == data
    assert from_base64(written + "=" * (-len(written) % 4)) == data


@pytest.mark.parametrize("wrong", ["a", "é", "a b", "ab\n", "a=b", "!!!!"])
def test_invalid_base64_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"base64|padding|ASCII"):
        from_base64(wrong)


def test_canonical_json_is_sorted_and_bare() -> None:
    fields: Json = {"b": 1, "a": {"d": "é", "c": []}, "signatures": {}, "unsigned": {}}
    assert canonical(fields) == '{"a":{"c":[],"d":"é"},"b":1}'.encode()


def signed() -> tuple[Json, str]:
    account = vodozemac.Account()
    fields: Json = {"x": 1, "unsigned": {"age": 5}}
    signature = account.sign(canonical(fields)).to_base64()
    return with_signature(fields, "@a:b", "ed25519:D", signature), account.ed25519_key.to_base64()


def test_signature_covers_user_key_and_all_fields() -> None:
    fields, key = signed()
    assert is_signed(fields, "@a:b", "ed25519:D", key)
    assert is_signed(fields | {"unsigned": {}}, "@a:b", "ed25519:D", key)
    assert not is_signed(fields | {"x": 2}, "@a:b", "ed25519:D", key)
    assert not is_signed(fields, "@c:b", "ed25519:D", key)
    assert not is_signed(fields, "@a:b", "ed25519:E", key)
    assert not is_signed(fields, "@a:b", "ed25519:D", vodozemac.Account().ed25519_key.to_base64())
    assert not is_signed(fields, "@a:b", "ed25519:D", "no key")


@pytest.mark.parametrize(
    "signatures", [None, [], {"@a:b": []}, {"@a:b": {"ed25519:D": 5}}, {"@a:b": {"ed25519:D": ""}}]
)
def test_malformed_signatures_are_invalid(signatures: object) -> None:
    key = vodozemac.Account().ed25519_key.to_base64()
    assert not is_signed({"signatures": signatures}, "@a:b", "ed25519:D", key)


def test_a_second_signature_joins_the_first() -> None:
    both = with_signature(with_signature({}, "@a:b", "k1", "s1"), "@a:b", "k2", "s2")
    assert both == {"signatures": {"@a:b": {"k1": "s1", "k2": "s2"}}}


def test_ids_in_row_names_are_short_and_storable() -> None:
    good: Json = {"key": "A" * 43, "id": "!room:here"}
    assert (key_text(good, "key"), id_text(good, "id")) == ("A" * 43, "!room:here")
    for bad in ("A" * 300, "a\x00", "\ud800", "a\n", 5, None):
        assert (key_text({"a": bad}, "a"), id_text({"a": bad}, "a")) == ("", "")
    assert key_text({"a": "!room"}, "a") == ""
    assert id_text({"a": "!" + "ü" * 200}, "a") == ""  # bytes, not characters


def test_fields_of_the_wrong_kind_are_empty() -> None:
    assert (text({"a": 1}, "a"), text({}, "a"), text({"a": "x"}, "a")) == ("", "", "x")
    assert (mapping({"a": []}, "a"), mapping({"a": {"b": 1}}, "a")) == ({}, {"b": 1})
