"""Customers' passwords lie sealed, each bound to its room and to the operator's secret."""

from __future__ import annotations

import pytest

from bridge.app.settings import Passwords
from bridge.ids import RoomId
from bridge.rooms.store import StoreError

HERE, THERE = RoomId("!here:example.org"), RoomId("!there:example.org")


@pytest.mark.parametrize("password", ["s3cret", "пароль 密码 🔑", "x" * 10_000])
def test_what_was_sealed_can_be_opened(password: str) -> None:
    box = Passwords("operator's")
    sealed = box.seal(HERE, password)
    assert password.encode() not in sealed
    assert Passwords("operator's").unseal(HERE, sealed) == password
    assert box.seal(HERE, password) != sealed


def test_half_a_character_does_no_harm() -> None:
    box = Passwords("operator's")
    assert box.unseal(HERE, box.seal(HERE, "a\ud800")) == "a?"


def test_nobody_elses() -> None:
    sealed = Passwords("operator's").seal(HERE, "s3cret")
    for box, room in ((Passwords("operator's"), THERE), (Passwords("another's"), HERE)):
        with pytest.raises(StoreError):
            box.unseal(room, sealed)
    with pytest.raises(StoreError):
        Passwords("operator's").unseal(HERE, b"garbage")
