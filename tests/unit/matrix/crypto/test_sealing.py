from __future__ import annotations

import pytest

from bridge.matrix.crypto.vault import Sealer, Unsealable


def test_sealed_row_is_opened_only_under_its_name() -> None:
    sealer = Sealer("secret")
    sealed = sealer.seal("row", b"keys")
    assert b"keys" not in sealed
    assert sealer.open("row", sealed) == b"keys"
    assert sealer.seal("row", b"keys") != sealed
    assert Sealer("secret").open("row", sealed) == b"keys"
    with pytest.raises(Unsealable):
        sealer.open("another row", sealed)


def test_another_secret_opens_nothing_and_the_message_says_what_to_do() -> None:
    sealed = Sealer("secret").seal("row", b"keys")
    with pytest.raises(Unsealable, match=r"pickle_key.*crypto reset"):
        Sealer("other").open("row", sealed)
    assert Sealer("secret").pickle_key != Sealer("other").pickle_key
    assert len(Sealer("secret").pickle_key) == 32


def test_damage_is_noticed() -> None:
    sealed = Sealer("secret").seal("row", b"keys")
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for wrong in (b"", sealed[:5], sealed[:-1], flipped, b"\x02" + sealed[1:]):
        with pytest.raises(Unsealable):
            Sealer("secret").open("row", wrong)


def test_repr_of_a_sealer_shows_no_secret() -> None:
    assert repr(Sealer("secret")) == "Sealer()"
