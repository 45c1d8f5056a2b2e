"""Which ratings are offered."""

from __future__ import annotations

import msgspec
import pytest

from bridge.config.model import RatingOption
from bridge.rooms.cards import rating_label, rating_options
from tests.unit.rooms.visits import RULES


def test_ratings_of_the_server_of_the_configuration_and_the_default() -> None:
    told = rating_options(RULES, "en", ((0, "bad"), (1, " ")))
    assert list(told.items()) == [(1, "1"), (0, "bad")]
    own = msgspec.structs.replace(
        RULES,
        ratings=(
            RatingOption(id=1, labels={"en": "good", "zh-CN": "好"}),
            RatingOption(id=0, labels={"en": "bad"}),
            RatingOption(id=2, labels={"ja": "ふつう"}),
        ),
    )
    assert list(rating_options(own, "zh-CN", ()).values()) == ["好", "bad", "ふつう"]
    assert list(rating_options(RULES, "en", ())) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("language", "label"), [("zh-CN", "很好"), ("zh-TW", "很好"), ("en", "good"), ("ja", "good")]
)
def test_a_label_is_looked_for_in_the_nearest_language(language: str, label: str) -> None:
    option = RatingOption(id=1, labels={"en": "good", "zh-CN": "很好"})
    rules = msgspec.structs.replace(RULES, ratings=(option,))
    assert rating_options(rules, language, ()) == {1: label}


def test_the_name_of_a_rating() -> None:
    """The server's or the bridge's name, or its number if it has none."""
    assert rating_label(RULES, "en", ((0, "Unhappy"), (1, " ")), 0) == "Unhappy"
    assert rating_label(RULES, "en", ((0, "Unhappy"), (1, " ")), 1) == "1"
    assert rating_label(RULES, "en", (), 5) == "Very satisfied"
    assert rating_label(RULES, "ja", (), 0) == "0"


def test_the_servers_labels_are_in_the_customers_language_where_that_is_known() -> None:
    vendors = ((1, " 满意 "), (0, "不满意"), (2, "很好"))
    assert rating_options(RULES, "en", vendors) == {2: "很好", 1: "Satisfied", 0: "Dissatisfied"}
    assert rating_options(RULES, "zh-CN", vendors) == {2: "很好", 1: "满意", 0: "不满意"}
    named = RatingOption(id=1, labels={"en": "Good", "zh-CN": "很好"})
    ours = msgspec.structs.replace(RULES, ratings=(named,))
    assert rating_options(ours, "ja", vendors) == {2: "Good", 1: "満足", 0: "不満"}
