"""Which ratings are offered."""

from __future__ import annotations

import msgspec
import pytest

from bridge.rooms.cards import choices, name_of
from bridge.rooms.rules import RatingRule
from tests.unit.rooms.visits import RULES


def test_whose_ratings_are_offered() -> None:
    told = choices(RULES, "en", ((0, "bad"), (1, " ")))
    assert list(told.items()) == [(1, "1"), (0, "bad")]
    own = msgspec.structs.replace(
        RULES,
        ratings=(
            RatingRule(1, {"en": "good", "zh-CN": "好"}),
            RatingRule(0, {"en": "bad"}),
            RatingRule(2, {"ja": "ふつう"}),
        ),
    )
    assert list(choices(own, "zh-CN", ()).values()) == ["好", "bad", "ふつう"]
    assert list(choices(RULES, "en", ())) == [5, 4, 3, 2, 1]
    assert RatingRule(3, {}).label("en") == "3"


@pytest.mark.parametrize(
    ("language", "label"), [("zh-CN", "很好"), ("zh-TW", "很好"), ("en", "good"), ("ja", "good")]
)
def test_a_label_is_looked_for_in_the_nearest_language(language: str, label: str) -> None:
    assert RatingRule(1, {"en": "good", "zh-CN": "很好"}).label(language) == label


def test_what_a_rating_is_called() -> None:
    """By whom it is offered; by its number where nobody has a name for it."""
    assert name_of(RULES, "en", ((0, "Unhappy"), (1, " ")), 0) == "Unhappy"
    assert name_of(RULES, "en", ((0, "Unhappy"), (1, " ")), 1) == "1"
    assert name_of(RULES, "en", (), 5) == "Very satisfied"
    assert name_of(RULES, "ja", (), 0) == "0"
