"""Lanes: closed unions, together all effects, and none of them twice."""

from __future__ import annotations

from itertools import dropwhile, takewhile
from typing import get_args

import msgspec

from bridge.conversation import model
from bridge.conversation.model import Effect, Fact, Input, ToAside, ToMatrix, ToWebChat


def defined(after: str, before: str) -> set[type]:
    """Values that `model` defines between these two names."""
    names = takewhile(
        lambda name: name != before, dropwhile(lambda name: name != after, vars(model))
    )
    found = (vars(model)[name] for name in names if name != after)
    return {one for one in found if isinstance(one, type) and issubclass(one, msgspec.Struct)}


def test_each_effect_is_in_one_lane() -> None:
    lanes = [get_args(lane) for lane in (ToWebChat, ToAside, ToMatrix, Fact)]
    together = [one for lane in lanes for one in lane]
    assert len(together) == len(set(together))
    assert set(together) == set(get_args(Effect)) == defined("Input", "ToWebChat")


def test_each_happening_is_an_input_of_the_machine() -> None:
    assert set(get_args(Input)) == defined("Conversation", "CustomerAct")
