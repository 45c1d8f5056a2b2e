"""Lanes: closed unions, together all effects, and none of them twice."""

from __future__ import annotations

from typing import get_args

import msgspec

from bridge.conversation import model
from bridge.conversation.model import Effect, Fact, Input, ToAside, ToMatrix, ToWebChat


def defined(base: str) -> set[type]:
    """Classes of `model` that derive from `base`."""
    found = (one for one in vars(model).values() if isinstance(one, type))
    known = {one for one in found if issubclass(one, msgspec.Struct)}
    return {one for one in known if base in {parent.__name__ for parent in one.__bases__}}


def test_each_effect_is_in_one_lane() -> None:
    lanes = [get_args(lane) for lane in (ToWebChat, ToAside, ToMatrix, Fact)]
    together = [one for lane in lanes for one in lane]
    assert len(together) == len(set(together))
    assert set(together) == set(get_args(Effect)) == defined("Wish")


def test_each_happening_is_an_input_of_the_machine() -> None:
    assert set(get_args(Input)) == defined("Happening")
